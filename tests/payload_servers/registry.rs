//! The registry of the distribution project, and `oras`, with which users push files to it.

use crate::front::{CERTIFICATES, Front};
use crate::process::{Process, free_port, program, run, serve};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// `user` with the password `password`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuWG29KuyeAicPCJODk1zjyGvyQUU2awu\n";

/// A directory that several registries serve in different ways, and one of them, which takes files from
/// everybody.
pub(crate) struct Shelf {
    dir: TempDir,
    port: u16,
    _process: Process,
}

/// A registry with TLS.
pub(crate) struct Registry {
    pub(crate) front: Front,
    pub(crate) port: u16,
    _process: Process,
}

impl Shelf {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port().await;
        let storage = format!("filesystem: {{rootdirectory: {}}}", dir.path().join("data").display());
        let process = start(&config(dir.path(), "shelf", port, &storage, ""), port).await;
        Self { dir, port, _process: process }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Pushes files as an artifact and returns the digest of its manifest.
    pub(crate) fn push(&self, reference: &str, files: &[(&str, &[u8])]) -> String {
        push(self.port, self.dir.path(), reference, files)
    }

    /// Makes an index with one artifact.
    pub(crate) fn index(&self, repository: &str, tag: &str, index: &str) {
        let mut command = Command::new(program("oras"));
        command.args(["manifest", "index", "create", "--plain-http"]);
        run(command.arg(format!("127.0.0.1:{}/{repository}:{index}", self.port)).arg(tag));
    }

    /// Serves the directory to everybody.
    pub(crate) async fn open(&self) -> Registry {
        self.serve("open", "").await
    }

    /// Serves the directory to `user`, who has the password `password`.
    pub(crate) async fn by_password(&self) -> Registry {
        let file = self.path().join("htpasswd");
        std::fs::write(&file, HTPASSWD).expect("a file");
        let auth = format!("auth: {{htpasswd: {{realm: here, path: {}}}}}", file.display());
        self.serve("password", &auth).await
    }

    /// Serves the directory to who has a token of this server.
    pub(crate) async fn by_token(&self, realm: &str, certificate: &Path) -> Registry {
        let bundle = certificate.display();
        let auth = format!(
            "auth: {{token: {{realm: \"{realm}\", service: registry, issuer: issuer, rootcertbundle: {bundle}}}}}"
        );
        self.serve("token", &auth).await
    }

    async fn serve(&self, name: &str, auth: &str) -> Registry {
        let storage = format!("filesystem: {{rootdirectory: {}}}", self.path().join("data").display());
        registry(self.path(), name, &storage, auth).await
    }
}

/// Serves what is stored at a S3 server, to which it refers for the blobs.
pub(crate) async fn stored_in_s3(dir: &Path, endpoint: &str, bucket: &str, keys: (&str, &str)) -> Registry {
    let (id, secret) = keys;
    let storage = format!(
        "s3: {{accesskey: {id}, secretkey: {secret}, region: eu-central-1, regionendpoint: \"https://{endpoint}\", bucket: {bucket}, secure: true}}"
    );
    registry(dir, "redirecting", &storage, "").await
}

/// Pushes files to the registry at this port and returns the digest of the manifest.
pub(crate) fn push(port: u16, dir: &Path, reference: &str, files: &[(&str, &[u8])]) -> String {
    let manifest = dir.join("manifest.json");
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).expect("a file");
    }
    let mut command = Command::new(program("oras"));
    command.args(["push", "--plain-http", "--no-tty", "--export-manifest"]).arg(&manifest);
    command.arg(format!("127.0.0.1:{port}/{reference}")).args(files.iter().map(|(name, _)| name));
    run(command.current_dir(dir));
    crate::digest(&std::fs::read(&manifest).expect("the manifest"))
}

async fn registry(dir: &Path, name: &str, storage: &str, auth: &str) -> Registry {
    let port = free_port().await;
    let front = Front::of(port).await;
    let file = config(dir, name, port, storage, auth);
    let process = start(&file, port).await;
    Registry { front, port, _process: process }
}

fn config(dir: &Path, name: &str, port: u16, storage: &str, auth: &str) -> PathBuf {
    let file = dir.join(format!("{name}.yml"));
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{{storage}}}\nhttp: {{addr: \"127.0.0.1:{port}\", secret: here}}\n{auth}\n"
    );
    std::fs::write(&file, text).expect("a file");
    file
}

async fn start(config: &Path, port: u16) -> Process {
    let mut command = Command::new("docker-registry");
    // It trusts the S3 server, which has a certificate of the authority here, and no other.
    command.arg("serve").arg(config).env("SSL_CERT_FILE", &CERTIFICATES.file).env_remove("AWS_CA_BUNDLE");
    serve(&mut command, port).await
}
