# curl, a request for each ten events; it tries again as it is told to, with the same Idempotency-Key.
set -eu
n=0
while [ "$n" -lt "$COUNT" ]; do
  lines=$(for i in $(seq "$n" $((n + 9))); do
    printf '{"message":"%s %d","level":"error"}\n' "$NAME" "$i"
  done)
  curl --silent --show-error --fail --retry 30 --retry-max-time 60 --retry-connrefused --max-time 30 \
    --header "Authorization: Bearer $TOKEN" --header "Idempotency-Key: $NAME-$n" \
    --output /dev/null --data-binary "$lines" "$GATEWAY/logs"
  n=$((n + 10))
  sleep "$(awk "BEGIN { print 10 * $PACE }")"
done
