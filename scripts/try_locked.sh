#!/usr/bin/env bash
# Serve with no network but this machine's own, a root that is read-only but for /tmp, and as user
# 1000 without any capability; then ask for an analysis, a visit of Compare and every page.
#     sudo scripts/try_locked.sh [PYTHON]        on Linux; PYTHON is .venv/bin/python by default
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${1:-$PWD/.venv/bin/python} PORT=${NLS_PORT:-7899}
[ -n "${NLS_LOCKED:-}" ] || NLS_LOCKED=1 exec unshare --mount --net "$0" "$PYTHON"

mount -o remount,bind,ro /
mount -t tmpfs tmpfs /tmp
ip link set lo up
! touch locked 2>/dev/null || { echo 'the root is not read-only'; exit 1; }
export PYTHONPATH=$PWD PYTHONDONTWRITEBYTECODE=1
NLS_PORT=$PORT HOME=/nonexistent setpriv --reuid 1000 --regid 1000 --clear-groups --no-new-privs \
    --inh-caps=-all "$PYTHON" app.py 2>/tmp/log &
app=$!
"$PYTHON" - "$PORT" <<'END'
import sys, time
from nls_core.web.bench.process import Site, multipart
from nls_core.web.bench.visitors import UI, picture, visit

site = Site(int(sys.argv[1]))
for _ in range(600):
    try:
        site.ask("GET", "/readyz")
        break
    except OSError:
        time.sleep(0.2)
print("ready:", site.ask("GET", "/readyz").json()["status"])
ids = [model["id"] for model in site.ask("GET", "/api/v1/models").json()][:2]
form = {"image": ("a.png", picture(0)), "models": ",".join(ids)}
print("analysis:", site.ask("POST", "/api/v1/analyze", *multipart(form)).status)
visit(site, 0)
print("Compare: visited, with a picture of one's own")
pages = site.ask("GET", f"{UI}config").json()["pages"]
for slug, *_ in pages:
    print(f"{UI}{slug}:", site.ask("GET", f"{UI}{slug}").status)
END
kill -TERM $app
wait $app || echo "ended with status $?"
