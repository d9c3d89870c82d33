# shellcheck shell=sh
# Begins to fetch an image, after stage.sh. REQUEST: for the program that fetches. AUTHORITY: certificate of our server,
# in PEM, or empty. PERL: program for perl. RUN: program that fetches. Prints "began".

if [ -z "$refused" ]; then
  work=$DIRECTORY/fetch
  mkdir "$work" &&
    printf '%s\n' "$REQUEST" >"$work/request" &&
    printf '%s\n' "$AUTHORITY" >"$work/authority" &&
    printf '%s\n' "$PERL" >"$work/fetch.pl" &&
    printf '%s\n' "$RUN" >"$work/run"
  nohup sh "$work/run" </dev/null >"$work/out" 2>&1 &
  echo $! >"$work/pid"
  echo began
fi
