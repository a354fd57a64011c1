#!/usr/bin/env bash
# The one step of action.yml: its inputs as arguments of `guard run`, its ends as those of a job.
set -uo pipefail

program=${GUARD_PROGRAM:-guard}
if ! command -v "$program" >/dev/null; then
    echo "::error title=guard::\`$program\` is not installed: cargo install --path examples/guard, or name it with the input \`guard\`"
    exit 1
fi
if [ -z "${GUARD_COMMAND:-}" ]; then
    echo "::error title=guard::the input \`command\` is empty: give the deploy command"
    exit 2
fi

arguments=()
# given ARGUMENT VALUE: handed on only if there is a value.
given() { [ -z "$2" ] || arguments+=("$1" "$2"); }
given --rollback-command "${GUARD_ROLLBACK_COMMAND:-}"
given --policy "${GUARD_POLICY:-}"
given --health-url "${GUARD_HEALTH_URL:-}"
given --monitor "${GUARD_MONITOR:-}"
given --error-threshold "${GUARD_ERROR_THRESHOLD:-}"
given --release "${GUARD_RELEASE_NAME:-}"
given --service "${GUARD_SERVICE:-}"
given --journal "${GUARD_JOURNAL:-}"
given --timeout "${GUARD_TIMEOUT:-}"
given --reason "${GUARD_REASON:-}"
report=${RUNNER_TEMP:-${TMPDIR:-/tmp}}/guard-report-$$.md

"$program" run "${arguments[@]}" \
    --outputs "$GITHUB_OUTPUT" --summary "$GITHUB_STEP_SUMMARY" --report "$report" \
    -- bash -eo pipefail -c "$GUARD_COMMAND"
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
