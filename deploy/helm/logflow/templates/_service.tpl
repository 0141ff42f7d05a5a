{{- /*
One service: its account, settings, pods, and how many of them may be away. It is told in a dictionary:

  root      the chart's top level
  name      of the binary
  values    of the service
  port      where it listens
  mounts    of Secrets beside those that are mounted for every service: name and secret of each
  settings  for its configuration file, beside those of `values.config`
  grace     how many seconds it may take to end
  sleep     how many of them pass before it is told to end
  memory    of the container's limit, if `values.resources` has none
  surge     whether there may be one more while they are replaced, instead of one less
  traced    whether it tells a collector of traces what it does
*/ -}}
{{- define "logflow.service" -}}
{{- $root := .root }}
{{- $values := .values }}
{{- $of := list $root .name }}
{{- $variable := .name | upper | replace "-" "_" }}
{{- $settings := merge (dict) .settings $values.config }}
{{- $_ := set $settings "listen" (printf "0.0.0.0:%v" .port) }}
{{- $mounts := list (dict "name" "config" "path" "config" "configMap" (printf "%s-%s" (include "logflow.fullname" $root) .name)) }}
{{- if $values.apiKeysSecret }}
{{- $_ := set $settings "api-keys" "/etc/logflow/keys/keys.toml" }}
{{- $mounts = append $mounts (dict "name" "keys" "secret" $values.apiKeysSecret) }}
{{- else if $values.open }}
{{- $_ := set $settings "open" true }}
{{- end }}
{{- if $values.tlsSecret }}
{{- $_ := set $settings "tls-cert" "/etc/logflow/tls/tls.crt" }}
{{- $_ := set $settings "tls-key" "/etc/logflow/tls/tls.key" }}
{{- $mounts = append $mounts (dict "name" "tls" "secret" $values.tlsSecret) }}
{{- end }}
{{- if $values.tlsClientCaSecret }}
{{- $_ := set $settings "tls-client-ca" "/etc/logflow/tls-client-ca/ca.crt" }}
{{- $mounts = append $mounts (dict "name" "tls-client-ca" "secret" $values.tlsClientCaSecret) }}
{{- end }}
{{- if $root.Values.kafka.caSecret }}
{{- $mounts = append $mounts (dict "name" "kafka-ca" "secret" $root.Values.kafka.caSecret) }}
{{- end }}
{{- $mounts = concat $mounts (.mounts | default list) }}
{{- $asks := hasKey $values "elasticsearchSecret" }}
{{- $urls := join "," $root.Values.elasticsearch.urls }}
{{- if and $asks (not $values.elasticsearchSecret) }}
{{- $_ := set $settings "elasticsearch-url" $root.Values.elasticsearch.urls }}
{{- end }}
{{- if and $asks $root.Values.elasticsearch.caSecret }}
{{- $mounts = append $mounts (dict "name" "elasticsearch-ca" "secret" $root.Values.elasticsearch.caSecret) }}
{{- end }}
{{- $traces := $root.Values.traces }}
{{- if and .traced $traces.endpoint }}
{{- $_ := set $settings "otlp-endpoint" $traces.endpoint }}
{{- if $traces.credentialsSecret }}
{{- $_ := set $settings "otlp-credentials" "/etc/logflow/otlp/credentials" }}
{{- $mounts = append $mounts (dict "name" "otlp" "secret" $traces.credentialsSecret) }}
{{- end }}
{{- if $traces.caSecret }}
{{- $_ := set $settings "otlp-ca" "/etc/logflow/otlp-ca/ca.crt" }}
{{- $mounts = append $mounts (dict "name" "otlp-ca" "secret" $traces.caSecret) }}
{{- end }}
{{- end }}
{{- $properties := include "logflow.kafkaProperties" $root }}
{{- $toml := list }}
{{- range $key, $value := $settings }}
{{- /* What JSON can say of texts, numbers, booleans and lists, TOML says alike. */ -}}
{{- $toml = append $toml (printf "%s = %s" $key (toJson $value)) }}
{{- end }}
{{- $toml = join "\n" $toml -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "logflow.metadata" $of | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "logflow.metadata" $of | nindent 2 }}
data:
  {{ .name }}.toml: |
    {{- $toml | nindent 4 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "logflow.metadata" $of | nindent 2 }}
spec:
  maxUnavailable: 1
  # One that does not work holds up no node that is to be emptied.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "logflow.selector" $of | nindent 6 }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "logflow.metadata" $of | nindent 2 }}
spec:
  {{- if not (dig "autoscaling" "enabled" false $values) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  strategy:
    rollingUpdate: { maxSurge: {{ ternary 1 0 .surge }}, maxUnavailable: {{ ternary 0 1 .surge }} }
  selector:
    matchLabels:
      {{- include "logflow.selector" $of | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "logflow.labels" $of | nindent 8 }}
      annotations:
        # Other settings are other pods.
        checksum/config: {{ sha256sum $toml }}
        {{- with $values.annotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "logflow.fullname" $root }}-{{ .name }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      {{- with $root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        seccompProfile: { type: RuntimeDefault }
      terminationGracePeriodSeconds: {{ .grace }}
      topologySpreadConstraints:
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "logflow.selector" $of | nindent 14 }}
        {{- end }}
      containers:
        - name: {{ .name }}
          image: {{ printf "%s/%s:%s" $root.Values.image.registry .name ($root.Values.image.tag | default $root.Chart.AppVersion) | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [--config, /etc/logflow/config/{{ .name }}.toml]
          {{- $user := and $root.Values.kafka.saslMechanism $values.kafkaSecret }}
          {{- $ca := and $asks $root.Values.elasticsearch.caSecret }}
          {{- if or $properties $user (and $asks $values.elasticsearchSecret) $ca $values.env }}
          env:
            {{- if $user }}
            {{- include "logflow.user" (list "KAFKA" $values.kafkaSecret) | trim | nindent 12 }}
            {{- end }}
            {{- with $properties }}
            - name: {{ $variable }}_KAFKA_PROPERTY
              value: {{ quote . }}
            {{- end }}
            {{- if and $asks $values.elasticsearchSecret }}
            {{- include "logflow.user" (list "ELASTICSEARCH" $values.elasticsearchSecret) | trim | nindent 12 }}
            - name: {{ $variable }}_ELASTICSEARCH_URL
              value: {{ $urls | replace "://" "://$(ELASTICSEARCH_USERNAME):$(ELASTICSEARCH_PASSWORD)@" | quote }}
            {{- end }}
            {{- if $ca }}
            - name: SSL_CERT_FILE
              value: /etc/logflow/elasticsearch-ca/ca.crt
            {{- end }}
            {{- with $values.env }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          {{- end }}
          ports:
            - name: http
              containerPort: {{ .port }}
          {{- $scheme := ternary "HTTPS" "HTTP" (not (empty $values.tlsSecret)) }}
          livenessProbe:
            httpGet: { path: /healthz, port: http, scheme: {{ $scheme }} }
            initialDelaySeconds: 5
            timeoutSeconds: 5
          readinessProbe:
            httpGet: { path: /readyz, port: http, scheme: {{ $scheme }} }
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          {{- with .sleep }}
          lifecycle:
            preStop: { sleep: { seconds: {{ . }} } }
          {{- end }}
          resources:
            {{- $resources := $values.resources }}
            {{- if .memory }}
            {{- $resources = mergeOverwrite (dict "requests" (dict "memory" .memory) "limits" (dict "memory" .memory)) $resources }}
            {{- end }}
            {{- toYaml $resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          volumeMounts:
            {{- range $mounts }}
            - { name: {{ .name }}, mountPath: /etc/logflow/{{ .path | default .name }}, readOnly: true }
            {{- end }}
            {{- with $values.volumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        {{- range $mounts }}
        - name: {{ .name }}
          {{- if .secret }}
          secret: { secretName: {{ .secret }}, defaultMode: 0440 }
          {{- else }}
          configMap: { name: {{ .configMap }} }
          {{- end }}
        {{- end }}
        {{- with $values.volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- range $key := list "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
      {{- with index $values $key }}
      {{ $key }}: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
{{- end }}
