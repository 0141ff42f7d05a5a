#!/bin/sh
# What an operator does with the Debian package, on the machine of host.sh: installs it, starts its services, breaks
# them, upgrades it, removes it.
set -eu
services="ingest-gateway es-sink archive-sink query-api"

fail() {
    echo "FAILED: $*"
    journalctl --no-pager --lines 30 --unit 'logflow-*' || true
    exit 1
}
property() { systemctl show --property "$2" --value "logflow-$1"; }
# Asks again for 30 s: until WHAT COMMAND...
until_so() {
    what=$1
    shift
    for _ in $(seq 300); do
        if "$@"; then return; fi
        sleep 0.1
    done
    fail "$what"
}
port() {
    case $1 in
        ingest-gateway) echo 3000 ;;
        es-sink) echo 9102 ;;
        archive-sink) echo 9104 ;;
        query-api) echo 5000 ;;
    esac
}
is_healthy() { [ "$(curl -s -m 3 "localhost:$(port "$1")/healthz")" = ok ]; }
is_another_than() { [ "$(property "$1" MainPID)" != "$2" ] && is_healthy "$1"; }
has_failed() { systemctl is-failed --quiet "logflow-$1"; }

echo "== install"
dpkg --install /mnt/logflow.deb
for name in $services; do
    systemd-analyze verify --recursive-errors=no "/usr/lib/systemd/system/logflow-$name.service"
    [ "$(property "$name" ActiveState)" = inactive ] || fail "the installation starts $name"
    [ "$(property "$name" UnitFileState)" = disabled ] || fail "the installation enables $name"
    [ "$(stat -c '%U %G %a' "/etc/logflow/$name.toml")" = "root logflow 640" ] || fail "everybody reads $name.toml"
done
[ "$(stat -c '%G %a' /etc/logflow)" = "logflow 750" ] || fail "everybody looks into /etc/logflow"

echo "== start, as installed"
for name in $services; do
    systemctl start "logflow-$name" || fail "$name does not start"
    until_so "$name is not healthy" is_healthy "$name"
    status=/proc/$(property "$name" MainPID)/status
    for line in "NoNewPrivs:	1" "Seccomp:	2" "CapBnd:	0000000000000000"; do
        grep -q "^$line" "$status" || fail "$name is not confined: $(grep "${line%%:*}" "$status")"
    done
done

echo "== a crash, and a fault in the settings"
before=$(property es-sink MainPID)
systemctl kill --signal KILL logflow-es-sink
until_so "es-sink is not started again" is_another_than es-sink "$before"
echo 'nonsense = true' >> /etc/logflow/query-api.toml
systemctl restart logflow-query-api || true
until_so "query-api runs with a fault in its settings" has_failed query-api
[ "$(property query-api NRestarts)" = 0 ] || fail "query-api is started again with the same fault"
journalctl --unit logflow-query-api | grep -q '`nonsense` .* is no setting' || fail "the journal does not name the fault"

echo "== an upgrade"
gateway=$(property ingest-gateway MainPID)
sink=$(property es-sink MainPID)
dpkg --install /mnt/logflow.deb
until_so "the upgrade leaves the old ingest-gateway running" is_another_than ingest-gateway "$gateway"
until_so "the upgrade leaves the old es-sink running" is_another_than es-sink "$sink"
[ "$(property query-api ActiveState)" = failed ] || fail "the upgrade starts what did not run"
grep -q nonsense /etc/logflow/query-api.toml || fail "the upgrade loses changed settings"

echo "== stop, and remove"
for name in ingest-gateway es-sink archive-sink; do
    systemctl stop "logflow-$name"
    [ "$(property "$name" Result)" = success ] || fail "$name does not drain: $(property "$name" Result)"
done
dpkg --purge logflow
for path in /usr/bin/ingest-gateway /usr/bin/es-sink /usr/bin/archive-sink /usr/bin/query-api /etc/logflow; do
    [ ! -e "$path" ] || fail "$path outlives the package"
done
echo "== done"
