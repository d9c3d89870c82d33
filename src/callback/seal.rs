//! AES-128-GCM for what is sent: encrypted on its way into the record.
//!
//! The TLS library copies the text into a record first and encrypts it there. Keys, nonces, the
//! form of a record and everything about receiving are the library's; only that copy is saved.

use aws_lc_rs::aead::{self, TlsProtocolId, TlsRecordSealingKey};
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Nonce, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite,
};
use std::borrow::Cow;
use std::sync::LazyLock;

/// Bytes that a record is longer than its text: the text's type and the tag.
const OVERHEAD: usize = 1 + 16;

/// The library's suite, with our way to encrypt.
static SUITE: LazyLock<Option<Tls13CipherSuite>> = LazyLock::new(|| {
    let theirs = TLS13_AES_128_GCM_SHA256.tls13()?;
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = theirs.common;
    Some(Tls13CipherSuite {
        common: CipherSuiteCommon { suite, hash_provider, confidentiality_limit },
        hkdf_provider: theirs.hkdf_provider,
        aead_alg: Box::leak(Box::new(Aes128Gcm(theirs.aead_alg))),
        quic: None,
    })
});

/// TLS 1.3 with AES-128-GCM.
pub(super) fn aes_128_gcm() -> SupportedCipherSuite {
    SUITE.as_ref().map_or(TLS13_AES_128_GCM_SHA256, SupportedCipherSuite::Tls13)
}

/// The library's algorithm, which is asked for everything but how to encrypt.
struct Aes128Gcm(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Aes128Gcm {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        match TlsRecordSealingKey::new(&aead::AES_128_GCM, TlsProtocolId::TLS13, key.as_ref()) {
            Ok(key) => Box::new(Seal { key, iv }),
            Err(_) => self.0.encrypter(key, iv),
        }
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// One direction of one connection, until its keys change.
struct Seal {
    key: TlsRecordSealingKey,
    iv: Iv,
}

impl MessageEncrypter for Seal {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let text = contiguous(&message.payload);
        let length = self.encrypted_payload_len(text.len());
        let mut record = PrefixedPayload::with_capacity(length);
        // Room that the encryption can write into.
        record.extend(std::iter::repeat_n(&0, length));
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, number).0);
        let about = aead::Aad::from(make_tls13_aad(length));
        let (cipher, end) = record.as_mut().split_at_mut(text.len());
        self.key
            .seal_out_of_place_scatter(nonce, about, &text, cipher, &message.typ.to_array(), end)
            .map_err(|_| Error::EncryptError)?;
        // A record of TLS 1.3 says that it is data of TLS 1.2 (RFC 8446, section 5.2).
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, record))
    }

    fn encrypted_payload_len(&self, text: usize) -> usize {
        text + OVERHEAD
    }
}

/// The text as it lies, copied only where it is in several places: at the seam of two pieces.
fn contiguous<'a>(text: &'a OutboundChunks<'_>) -> Cow<'a, [u8]> {
    match text {
        OutboundChunks::Single(text) => Cow::Borrowed(text),
        OutboundChunks::Multiple { chunks, start, .. } => {
            let mut start = *start;
            for chunk in *chunks {
                if start < chunk.len() {
                    let part = chunk.get(start..start + text.len());
                    return part.map_or_else(|| Cow::Owned(text.to_vec()), Cow::Borrowed);
                }
                start -= chunk.len();
            }
            Cow::Owned(text.to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::identity::RunIdentity;
    use crate::callback::tls::Tls;
    use rustls::pki_types::ServerName;
    use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConnection};
    use std::io::{IoSlice, Read, Write};
    use std::sync::Arc;

    /// A device, with the library's own cryptography, and our server.
    fn connected() -> (ClientConnection, ServerConnection) {
        let identity = RunIdentity::generate("run").unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(identity.ca().clone()).unwrap();
        let theirs = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(theirs)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("any.farrier.internal").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut server = ServerConnection::new(Tls::new(&identity).unwrap().for_devices()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            deliver(&mut server, &mut client);
        }
        (client, server)
    }

    /// What the server has to say arrives; returns the text.
    fn deliver(server: &mut ServerConnection, client: &mut ClientConnection) -> Vec<u8> {
        let (mut wire, mut text) = (Vec::new(), Vec::new());
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut wire = wire.as_slice();
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            let come = client.process_new_packets().unwrap().plaintext_bytes_to_read();
            let before = text.len();
            text.resize(before + come, 0);
            client.reader().read_exact(&mut text[before..]).unwrap();
        }
        text
    }

    /// Else no machine can read what it is sent, or it reads something else.
    #[test]
    fn what_is_sealed_opens_with_the_librarys_cryptography() {
        let (mut client, mut server) = connected();
        let suite = client.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
        let file: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let shapes: [&[usize]; 6] =
            [&[1], &[65_536], &[200, 65_536], &[24_001, 65_536], &[16_384, 16_384], &[3, 1, 20_000, 7]];
        for (turn, shape) in shapes.iter().enumerate() {
            let mut from = turn * 100_000;
            let pieces: Vec<IoSlice<'_>> = shape
                .iter()
                .map(|length| {
                    from += length;
                    IoSlice::new(&file[from - length..from])
                })
                .collect();
            let taken = server.writer().write_vectored(&pieces).unwrap();
            let start = turn * 100_000;
            assert!(deliver(&mut server, &mut client) == file[start..start + taken], "{shape:?}");
            server.refresh_traffic_keys().unwrap();
        }
    }

    #[test]
    fn a_text_is_copied_only_where_it_is_in_several_places() {
        let chunks: [&[u8]; 3] = [b"abc", b"", b"defgh"];
        let of = |start, end| OutboundChunks::Multiple { chunks: &chunks, start, end };
        for (start, end, copied) in [(0, 3, false), (1, 2, false), (3, 8, false), (4, 8, false), (2, 4, true)]
        {
            let text = of(start, end);
            let found = contiguous(&text);
            assert_eq!(*found, b"abcdefgh"[start..end]);
            assert_eq!(matches!(found, Cow::Owned(_)), copied, "{start} to {end}");
        }
    }
}
