# Makes the certificates that tests/certificates.rs serves, in the current directory, with the
# commands that administrators use. NAME.pem and NAME.key belong together.
set -eu

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
request() { openssl req -new -key "$1.key" -subj "/CN=$2" -out "$1.csr"; }

# self NAME CN [OPTIONS]: a self-signed one, as openssl makes it by itself: CA:TRUE.
self() {
  name=$1 cn=$2; shift 2
  [ -e "$name.key" ] || key "$name"
  openssl req -x509 -key "$name.key" -subj "/CN=$cn" -days 2 -out "$name.pem" "$@"
}

# issue NAME ISSUER EXTENSIONS [OPTIONS]: one for localhost by another certificate. Without
# extensions, x509 -req makes version 1.
issue() {
  name=$1 issuer=$2 extensions=$3; shift 3
  [ -e "$name.key" ] || key "$name"
  request "$name" "${CN:-localhost}"
  if [ -n "$extensions" ]; then printf '%b\n' "$extensions" >"$name.ext"; set -- "$@" -extfile "$name.ext"; fi
  openssl x509 -req -in "$name.csr" -CA "$issuer.pem" -CAkey "$issuer.key" -CAcreateserial -days 2 -out "$name.pem" "$@"
}

# dated NAME FROM TO: one by root with these dates.
dated() {
  key "$1"; request "$1" localhost
  openssl ca -batch -config ca.cnf -cert root.pem -keyfile root.key -in "$1.csr" -startdate "$2" -enddate "$3" \
    -notext -out "$1.pem"
}

names='subjectAltName=DNS:localhost,IP:127.0.0.1'
critical='1.3.6.1.4.1.99999.1=critical,ASN1:UTF8String:unknown'

self plain localhost
self listed other -addext "$names"
self stranger other.example
self old-hash localhost -sha1
self critical-self localhost -addext "$critical"
openssl genrsa -out short.key 1024
self short localhost -addext "$names"

self root root-authority
self other-root other-authority
CN=middle-authority issue middle root 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign'
issue good root "$names"
issue by-middle middle "$names"
cat by-middle.pem middle.pem >full-chain.pem
cp by-middle.key full-chain.key
issue elsewhere root 'subjectAltName=DNS:repo.example.net,DNS:*.mirror.example.net'
issue address-as-name root 'subjectAltName=DNS:127.0.0.1'
issue common-name root 'basicConstraints=CA:FALSE'
issue version-1 root ''
issue authority root "$names\nbasicConstraints=CA:TRUE"
issue weak root "$names" -sha1
issue critical root "$names\n$critical"
issue clients root "$names\nextendedKeyUsage=clientAuth"
# A server certificate whose key makes certificates for others.
self server localhost -addext "$names" -addext basicConstraints=critical,CA:FALSE
CN=forged issue forged server "$names"
# Set up anew: the same name, another key.
self root-anew root-authority
self plain-anew localhost

cat >ca.cnf <<END
[ca]
default_ca = default
[default]
database = index
new_certs_dir = .
serial = number
default_md = sha256
policy = policy
unique_subject = no
x509_extensions = extensions
[policy]
commonName = supplied
[extensions]
$names
END
: >index
echo 01 >number
dated expired 20200101000000Z 20210101000000Z
dated future 21000101000000Z 21010101000000Z
# A self-signed one whose time is over.
key former; request former localhost
openssl ca -batch -selfsign -config ca.cnf -keyfile former.key -in former.csr \
  -startdate 20200101000000Z -enddate 20210101000000Z -notext -out former.pem
