#!/bin/sh
# runc for a daemon without containerd's settings for a machine that lets nobody be spared when memory runs out
# (CAP_SYS_RESOURCE; restrict_oom_score_adj) or has no huge pages (disable_hugetlb_controller).
set -eu
before=
for word; do
    file=
    case $before in
        --bundle | -b) file=$word/config.json ;;
        --process | -p) file=$word ;;
    esac
    [ ! -f "$file" ] || sed -i -z -E -e 's/"oomScoreAdj": *-[0-9]+/"oomScoreAdj":0/' \
        -e 's/"hugepageLimits": *\[[^]]*\]/"hugepageLimits":[]/' "$file"
    before=$word
done
exec "{runc}" "$@"
