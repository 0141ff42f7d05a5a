{{- /* The properties of librdkafka, one a line; the user stands in variables. */ -}}
{{- define "logflow.kafkaProperties" -}}
{{- $kafka := .Values.kafka }}
{{- $lines := list }}
{{- if or $kafka.tls $kafka.saslMechanism }}
{{- $protocol := ternary (ternary "sasl_ssl" "ssl" (ne $kafka.saslMechanism "")) "sasl_plaintext" $kafka.tls }}
{{- $lines = append $lines (printf "security.protocol=%s" $protocol) }}
{{- end }}
{{- if $kafka.caSecret }}
{{- $lines = append $lines "ssl.ca.location=/etc/logflow/kafka-ca/ca.crt" }}
{{- end }}
{{- if $kafka.saslMechanism }}
{{- $lines = append $lines (printf "sasl.mechanism=%s" $kafka.saslMechanism) }}
{{- $lines = concat $lines (list "sasl.username=$(KAFKA_USERNAME)" "sasl.password=$(KAFKA_PASSWORD)") }}
{{- end }}
{{- range $key, $value := $kafka.properties }}
{{- $lines = append $lines (printf "%s=%s" $key (toString $value)) }}
{{- end }}
{{- join "\n" $lines }}
{{- end }}

{{- /* Variables from a Secret with a user: (list "KAFKA" "name-of-the-secret"). */ -}}
{{- define "logflow.user" -}}
{{- $secret := index . 1 }}
{{- range $part := list "username" "password" }}
- name: {{ index $ 0 }}_{{ upper $part }}
  valueFrom: { secretKeyRef: { name: {{ $secret }}, key: {{ $part }} } }
{{- end }}
{{- end }}

{{- /* The ports of `HOST:PORT` or `http(s)://HOST:PORT`, each once. */ -}}
{{- define "logflow.ports" -}}
{{- $ports := list }}
{{- range . }}
{{- $ports = append $ports (regexFind "[0-9]+$" (trimSuffix "/" .)) }}
{{- end }}
{{- range $ports | uniq }}
- { port: {{ . }}, protocol: TCP }
{{- end }}
{{- end }}
