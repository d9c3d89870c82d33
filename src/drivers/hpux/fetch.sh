# shellcheck shell=sh
# Begins to fetch an image, after stage.sh. REQUEST: for curl. URL: for the others. AUTHORITY: certificate of our server,
# in PEM, or empty. PERL: program for perl. RUN: program that fetches. Prints "began", or "refused" and why.

if [ -z "$refused" ]; then
  work=$DIRECTORY/fetch
  if mkdir "$work" &&
    printf '%s\n' "$REQUEST" >"$work/request" &&
    printf '%s\n' "$URL" >"$work/url" &&
    printf '%s\n' "$AUTHORITY" >"$work/authority" &&
    printf '%s\n' "$PERL" >"$work/fetch.pl" &&
    printf '%s\n' "$RUN" >"$work/run"; then
    nohup sh "$work/run" </dev/null >"$work/out" 2>&1 &
    echo $! >"$work/pid"
    echo began
  else
    # Nothing was begun in it.
    rm -rf "$DIRECTORY"
    rmdir "$TOP" 2>/dev/null
    echo "refused directory $work"
  fi
fi
