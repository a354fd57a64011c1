#!/usr/bin/env bash
# The one step of action.yml: its inputs as arguments of `guard run`, its ends as those of a job.
set -uo pipefail

program=${GUARD_PROGRAM:-guard}
if ! command -v "$program" >/dev/null; then
    echo "::error title=guard::\`$program\` is not installed: cargo install --path examples/guard, or name it with the input \`guard\`"
    exit 1
fi
if [ -z "${GUARD_COMMAND:-}${GUARD_SCRIPT:-}" ]; then
    echo "::error title=guard::the inputs \`command\` and \`script\` are empty: give one of them"
    exit 2
fi
if [ -n "${GUARD_COMMAND:-}" ] && [ -n "${GUARD_SCRIPT:-}" ]; then
    echo "::error title=guard::the inputs \`command\` and \`script\` are both given: a script is called instead of a command"
    exit 2
fi

arguments=()
# given ARGUMENT VALUE: handed on only if there is a value.
given() { [ -z "$2" ] || arguments+=("$1" "$2"); }
given --rollback-command "${GUARD_ROLLBACK_COMMAND:-}"
given --script "${GUARD_SCRIPT:-}"
given --verbs "${GUARD_VERBS:-}"
given --artefact "${GUARD_ARTEFACT:-}"
given --policy "${GUARD_POLICY:-}"
given --health-url "${GUARD_HEALTH_URL:-}"
given --prometheus-url "${GUARD_PROMETHEUS_URL:-}"
given --metrics-url "${GUARD_METRICS_URL:-}"
given --metrics-format "${GUARD_METRICS_FORMAT:-}"
given --body-url "${GUARD_BODY_URL:-}"
given --notify-command "${GUARD_NOTIFY_COMMAND:-}"
given --notify-file "${GUARD_NOTIFY_FILE:-}"
given --monitor "${GUARD_MONITOR:-}"
given --error-threshold "${GUARD_ERROR_THRESHOLD:-}"
given --release "${GUARD_RELEASE_NAME:-}"
given --service "${GUARD_SERVICE:-}"
given --journal "${GUARD_JOURNAL:-}"
given --timeout "${GUARD_TIMEOUT:-}"
given --reason "${GUARD_REASON:-}"
command=()
[ -z "${GUARD_COMMAND:-}" ] || command=(-- bash -eo pipefail -c "$GUARD_COMMAND")
# Never among the arguments, where whoever lists processes can read it.
[ -z "${GUARD_PROMETHEUS_TOKEN:-}" ] || export PROMETHEUS_TOKEN=$GUARD_PROMETHEUS_TOKEN
unset GUARD_PROMETHEUS_TOKEN
report=${RUNNER_TEMP:-${TMPDIR:-/tmp}}/guard-report-$$.md

"$program" run "${arguments[@]}" \
    --outputs "$GITHUB_OUTPUT" --summary "$GITHUB_STEP_SUMMARY" --report "$report" \
    ${command[@]+"${command[@]}"}
code=$?

# Whoever did not come to rest has written no outputs.
if ! grep -q '^outcome=' "$GITHUB_OUTPUT" 2>/dev/null; then
    case $code in
        13) outcome=refused ;;
        16 | 130) outcome=still_running ;;
        *) outcome=failed ;;
    esac
    {
        echo "outcome=$outcome"
        echo "reason=guard ended with exit code $code; the log of this step says why"
    } >>"$GITHUB_OUTPUT"
fi
if [ "$code" -eq 10 ] && [ "${GUARD_ALLOW_ROLLBACK:-false}" = true ]; then
    exit 0
fi
exit "$code"
