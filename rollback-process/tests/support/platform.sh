#!/bin/sh
# A deploy script with a platform in a folder: $PLATFORM/$SERVICE holds one file per release, `PERCENT STATE`,
# and the mark of the whole in `etag`. Every call is noted in `calls`. What it does badly, it does for $MODE.
set -eu
home="$PLATFORM/$SERVICE"
mkdir -p "$home/releases"
[ -e "$home/etag" ] || echo 0 >"$home/etag"

moved() { echo $(($(cat "$home/etag") + 1)) >"$home/etag"; }
percent() { cut -d ' ' -f 1 "$home/releases/$1"; }
rest() { awk "BEGIN { print 100 - $1 }"; }

case $1 in
status | check) ;;
*)
    echo "$* RELEASE=$RELEASE PREVIOUS_RELEASE=${PREVIOUS_RELEASE-} NAME=${RELEASE_NAME-} CHANGE=$CHANGE_ID DEPLOYMENT=$DEPLOYMENT_ID PACE=${PACE-} ${MAX_UNAVAILABLE-} ${MAX_SURGE-}" >>"$home/calls"
    if [ -n "${COMPARES-}" ] && [ "${EXPECTED_ETAG-}" != "$(cat "$home/etag")" ]; then
        echo "the mark is $(cat "$home/etag"), not ${EXPECTED_ETAG-}"
        exit 76
    fi
    ;;
esac

case $1 in
deploy | rollback)
    case ${MODE-} in
    hangs) echo "waiting for what never comes"; sleep 600 ;;
    exits) echo "the disk is full"; exit 3 ;;
    usage) echo "what?"; exit 64 ;;
    unsure) echo "the line was cut"; exit 75 ;;
    done-and-unsure) ;;
    gate) until [ -e "$home/gate" ]; do sleep 0.02; done ;;
    starting) state=starting ;;
    esac
    if [ "$PLACEMENT" = in_place ]; then
        rm -f "$home/releases/"*
        echo "100 ${state-ready}" >"$home/releases/$RELEASE"
    elif [ -e "$home/releases/$RELEASE" ]; then
        echo "$(percent "$RELEASE") ${state-ready}" >"$home/releases/$RELEASE"
    else
        echo "0 ${state-ready}" >"$home/releases/$RELEASE"
    fi
    moved
    echo "deployed with ${TOKEN-no token}"
    [ "${MODE-}" != done-and-unsure ] || exit 75
    ;;
update-traffic)
    [ ! -e "$home/broken-balancer" ] || { echo "the balancer is away"; exit 1; }
    for release in "$home/releases/"*; do echo "0 ready" >"$release"; done
    echo "$2 ready" >"$home/releases/$RELEASE"
    [ -z "${PREVIOUS_RELEASE-}" ] || echo "$(rest "$2") ready" >"$home/releases/$PREVIOUS_RELEASE"
    moved
    ;;
retire)
    rm -f "$home/releases/$RELEASE"
    moved
    ;;
status)
    [ ! -e "$home/mute" ] || { echo "no platform" >&2; exit 1; }
    printf '{"etag":"%s","releases":[' "$(cat "$home/etag")"
    comma=''
    for release in "$home/releases/"*; do
        [ -e "$release" ] || continue
        read -r part state <"$release"
        printf '%s{"release":"%s","percent":%s,"state":"%s"}' "$comma" "${release##*/}" "$part" "$state"
        comma=,
    done
    printf ']}\n'
    ;;
check)
    [ "$ARTEFACT" != missing ] || { echo "no artefact is called $ARTEFACT" >&2; exit 1; }
    ;;
*)
    echo "usage: $0 deploy|rollback|update-traffic PERCENTAGE STAGE|retire|status|check" >&2
    exit 64
    ;;
esac
