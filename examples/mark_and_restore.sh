#!/bin/bash
# A change with a way back, by the command line: a mark before it, and a restore when it fails.
#
#   mark_and_restore.sh NODE GROUP COMMAND...
#
# NODE is what `tidemark --node` takes. COMMAND makes the change; it must have closed its NBD connections, or unmounted
# the volume, when it ends: a restore is refused while somebody writes. The exit status is COMMAND's; 100 when what it
# left could not be taken back.
set -euo pipefail

if [ $# -lt 3 ]; then
  sed -n '4s/^# *//p' "$0" >&2
  exit 2
fi
node=$1 group=$2
shift 2

# One answer of the node, as JSON.
ask() { tidemark --node "$node" -o json "$@"; }

id=before-change-$(date -u +%Y%m%d-%H%M%S)-$$
# The same command again makes the same mark: an answer that was lost costs nothing.
for attempt in 1 2 3; do
  made=$(ask mark create "$group" "$id" --note "before: $*") && break
  [ "$attempt" -lt 3 ] || exit 1
  sleep "$attempt"
done
echo "mark $id at log:$(jq -r .log_id <<<"$made")" >&2

status=0
"$@" || status=$?
[ "$status" -eq 0 ] && exit 0

echo "'$1' failed with status $status: back to $id" >&2
plan=$(ask restore "$group" --to "$id" --dry-run) || exit 100
echo "$(jq -r .entries_left <<<"$plan") entries are left behind" >&2
left=$(ask restore "$group" --to "$id" | jq -r .from.log_id) || exit 100
echo "to undo even that: tidemark restore $group --to log:$left" >&2
exit "$status"
