# shellcheck shell=sh disable=SC2034,SC2154 # variables are for those that source this, and of lib.sh
# What the programs of Software Distributor share: options, sessions, logs, locks, catalogs. Sourced after
# lib.sh by programs that have set `command`.

sw=/var/adm/sw
products=$sw/products
tab=$(printf '\t')

# The extended options, with their defaults where a program of the double reads them.
extended='agent_auto_exit agent_timeout_minutes allow_downdate allow_incompatible allow_multiple_versions
  allow_split_patches ask auto_kernel_build autoreboot autorecover autorecover_product autoremove_job
  autoselect_dependencies autoselect_dependents autoselect_patches autoselect_reference_bundles check_contents
  check_contents_uncompressed check_contents_use_cksum check_permissions check_requisites check_scripts
  check_volatile codeword create_target_path create_time_filter customer_id defer_configure
  distribution_source_directory distribution_target_directory enforce_dependencies enforce_dsa
  enforce_kernbld_failure enforce_locatable enforce_scripts installed_software_catalog job_title level
  log_msgid logdetail logfile loglevel lookupcache_timeout_minutes match_target max_targets
  mount_all_filesystems one_liner os_name os_release patch_filter patch_match_target patch_one_liner
  patch_save_files polling_interval preview reinstall reinstall_files reinstall_files_use_cksum
  remove_empty_depot retry_rpc retry_rpc_interval return_warning_exitcode reuse_short_job_numbers
  rpc_binding_info rpc_binding_info_source rpc_timeout run_as_superuser select_local show_superseded_patches
  software software_view source source_cdrom source_tape source_type targets use_alternate_source verbose
  write_remote_files'
opt_allow_downdate=false opt_autoreboot=false opt_logfile=$sw/${command:?}.log opt_match_target=false
opt_patch_match_target=false opt_reinstall=false opt_return_warning_exitcode=false opt_verbose=1
opt_enforce_dsa=true opt_mount_all_filesystems=true opt_source='' opt_preview=false

# extend NAME=VALUE: the argument of -x.
extend() {
  name=${1%%=*}
  case $1 in *=*) ;; *) refuse "The option \"$1\" has no value." ;; esac
  # shellcheck disable=SC2086,SC2116 # line breaks become spaces
  case " $(echo $extended) " in *" $name "*) ;; *) refuse "The option \"$name\" is not an option of $command." ;; esac
  eval "opt_$name=\${1#*=}"
}

# refuse WORDS: an error before the session.
refuse() { echo "ERROR:   $1" >&2; exit 1; }

# say TEXT: a line of the session, to standard output and the command's log. A line that begins with ERROR or
# WARNING goes to standard error.
say() {
  printf '%s\n' "$1" >>"$opt_logfile"
  case $1 in
    ERROR* | WARNING*) printf '%s\n' "$1" >&2 ;;
    *) [ "$opt_verbose" = 0 ] || printf '%s\n' "$1" ;;
  esac
}

# next_job: a new job id.
next_job() {
  number=$(($(setting job 0) + 1))
  echo "$number" >"$state/job"
  printf '%s-%04d' "$host" "$number"
}

# begin_session: the first lines of every session.
begin_session() {
  [ "$(id -u)" = 0 ] || refuse "You do not have the required permissions to use $command on this host."
  job=$(next_job)
  say ""
  say "=======  $(stamp)  BEGIN $command SESSION"
  say "         (non-interactive) (jobid=$job)"
  say ""
  say "       * Session started for user \"root@$host\"."
  say ""
  say "       * Beginning Selection"
}

# end_session STATUS
end_session() {
  say "NOTE:    More information may be found in the agent logfile using the"
  say "         command \"swjob -a log $job @ $host:/\"."
  say ""
  say "=======  $(stamp)  END $command SESSION (non-interactive)"
  say "         (jobid=$job)"
  say ""
  exit "$1"
}

# agent TEXT: a line of the agent's log.
agent() { printf '%s\n' "$1" >>$sw/swagent.log; }

# begin_agent WORK, end_agent WORK: a session of the agent.
begin_agent() {
  agent ""
  agent "=======  $(stamp)  BEGIN $1 AGENT SESSION"
  agent "         (pid=$$) (jobid=$job)"
  agent ""
  agent "       * Agent session started for user \"root@$host\". (pid=$$)"
  agent ""
}
end_agent() { agent "=======  $(stamp)  END $1 AGENT SESSION (pid=$$) (jobid=$job)"; }

# lock_products: takes the write lock of the Installed Products Database for this process. A lock goes with its
# process, as those of fcntl(2) do, and whoever has it has the file open: whoever has that open has the lock.
lock_products() {
  touch $products/swlock
  if has_fault agent-locked; then return 1; fi
  holder=$(cat "$state/lock" 2>/dev/null)
  if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then rm -f "$state/lock"; fi
  [ -z "$("$double/programs/fuser" $products/swlock 2>/dev/null | tr -d ' ')" ] || return 1
  (set -C && echo $$ >"$state/lock") 2>/dev/null
}
unlock_products() { rm -f "$state/lock"; }

# table INDEX…: the filesets of catalogs, a line each, with tabs: product, fileset, revision, architecture, vendor,
# is_patch, is_reboot, Kbytes, state, ancestor, title.
table() {
  # shellcheck disable=SC2016 # a program of awk
  awk -F '\n' '
    function row() {
      if (fileset == "") return
      OFS = "\t"
      print product, fileset, revision, architecture, vendor, patch, reboot, size, state, ancestor, title
      fileset = ""
    }
    { line = $0; sub(/^[ \t]+/, "", line); key = line; sub(/[ \t].*/, "", key)
      value = line; if (!sub(/^[^ \t]+[ \t]+/, "", value)) value = ""
      gsub(/^"|"$/, "", value) }
    key == "product" { row(); in_product = 1; revision = "-"; architecture = "-"; vendor = "-"; patch = "false"; title = "-"; next }
    key == "fileset" { row(); in_product = 0; fileset = "-"; reboot = "false"; size = 1; state = "available"; ancestor = "-"; next }
    key == "tag" { if (in_product) product = value; else fileset = value }
    key == "revision" && in_product { revision = value }
    key == "architecture" && in_product { architecture = value }
    key == "vendor_tag" { vendor = value }
    key == "title" && in_product { title = value }
    key == "is_patch" { patch = value }
    key == "is_reboot" { reboot = value }
    key == "size" { size = value }
    key == "state" { state = value }
    key == "ancestor" { ancestor = value }
    END { row() }' "$@"
}

# installed: the table of what is installed.
installed() {
  for index in $products/*/INDEX; do
    [ ! -e "$index" ] || table "$index"
  done
}

# catalog_of SOURCE: prints the catalog of a depot; 2: no contact, 1: not a depot.
catalog_of() {
  case $1 in
    /*) ;;
    *) return 2 ;;
  esac
  if [ -d "$1" ]; then cat "$1/catalog/INDEX" 2>/dev/null; else tar -xOf "$1" catalog/INDEX 2>/dev/null; fi
}

# selected TAG FILESET REVISION SELECTION…: one of the selections is of this fileset.
selected() {
  tag=$1 of=$2 revision=$3
  shift 3
  for selection; do
    wanted=
    case $selection in *,r=*) wanted=${selection#*,r=} wanted=${wanted%%,*} ;; esac
    [ -z "$wanted" ] || [ "$wanted" = "$revision" ] || continue
    # shellcheck disable=SC2254 # a selection is a pattern
    case $tag in ${selection%%,*}) return 0 ;; esac
    # shellcheck disable=SC2254
    case $tag.$of in ${selection%%,*}) return 0 ;; esac
  done
  return 1
}

# set_state PRODUCT STATE [FROM]: changes the state of all its filesets.
set_state() {
  sed "s/^state ${3:-.*}\$/state $2/" "$products/$1/INDEX" >"$products/$1/INDEX.new" &&
    mv "$products/$1/INDEX.new" "$products/$1/INDEX"
}

# newer A B: 0 if revision A is newer than B, field by field.
newer() {
  awk -v a="$1" -v b="$2" 'BEGIN {
    n = split(a, x, "."); m = split(b, y, ".")
    for (i = 1; i <= (n > m ? n : m); i++) {
      p = x[i]; q = y[i]
      if (p == q) continue
      if (p ~ /^[0-9]+$/ && q ~ /^[0-9]+$/) exit !(p + 0 > q + 0)
      exit !(p "" > q "")
    }
    exit 1 }'
}
