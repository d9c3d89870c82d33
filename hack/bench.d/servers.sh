# shellcheck shell=bash
# The callback server and nginx, for the same file. Source it after measure.sh, and call begin_work first.

# begin_work: sets `work`, a folder that goes away at the end like all that is STARTED. It is on a disk as in
# the product, and in the page cache all the time.
begin_work() {
  work=$(mktemp -d /var/tmp/farrier-bench.XXXXXX)
  chmod 755 "$work"
  STARTED=()
  trap 'kill "${STARTED[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
}

# payload MIB: makes the file. In pieces of 1 MiB, as the payload store writes: the system reads what was written
# by 8 KiB a fifth slower, for everybody.
payload() { dd if=/dev/urandom of="$work/payload" bs=1M count="$1" iflag=fullblock status=none; }

# wait_for FILE: until it is there.
wait_for() {
  local tries=0
  until [ -e "$1" ]; do
    [ $((tries += 1)) -lt 1000 ] || { echo "error: $1 did not appear. Next: read the output above" >&2; exit 1; }
    sleep 0.01
  done
}

start_ours() {
  "$BENCH_CALLBACK" serve "$work" "$IDLE" &
  OURS=$!
  STARTED+=("$OURS")
  wait_for "$work/https"
}

# nginx on four ports: for engines with the same cipher and the same demand for a certificate of
# an engine, as Debian sets it up (8443) and with the larger buffers that make it faster where TLS is not the
# kernel's (8444); for devices over HTTP (8445) and HTTPS (8446). It has a certificate of its own, since its
# OpenSSL does not read ours.
start_nginx() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=nginx -days 2 \
    -keyout "$work/nginx.key" -out "$work/nginx.crt" 2>/dev/null
  cat >"$work/nginx.conf" <<CONF
user root;
worker_processes auto; daemon off; pid $work/nginx.pid; error_log $work/nginx.log;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
  client_body_temp_path $work/t1; proxy_temp_path $work/t2; fastcgi_temp_path $work/t3;
  uwsgi_temp_path $work/t4; scgi_temp_path $work/t5;
  root $work;
  ssl_certificate $work/nginx.crt; ssl_certificate_key $work/nginx.key;
  ssl_client_certificate $work/ca.crt;
  ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256; ssl_session_tickets off;
  server { listen 127.0.0.1:8443 ssl; ssl_verify_client on; location = /payload { } location / { return 404; } }
  server {
    listen 127.0.0.1:8444 ssl; ssl_verify_client on; sendfile off; output_buffers 2 256k;
    location = /payload { } location / { return 404; }
  }
  server { listen 127.0.0.1:8445 backlog=4096; location = /payload { } location / { return 404; } }
  server { listen 127.0.0.1:8446 ssl backlog=4096; location = /payload { } location / { return 404; } }
}
CONF
  nginx -c "$work/nginx.conf" -p "$work" 2>>"$work/nginx.log" &
  STARTED+=($!)
  wait_for "$work/nginx.pid"
  # shellcheck disable=SC2034 # for those who source this
  mapfile -t NGINX < <(pgrep -P "$(cat "$work/nginx.pid")")
}
