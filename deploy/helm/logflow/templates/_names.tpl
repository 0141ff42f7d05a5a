{{- /* The release's name, and the chart's where the former does not have it; with room for the longest service. */ -}}
{{- define "logflow.fullname" -}}
{{- $name := .Release.Name }}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end }}
{{- $name | trunc 46 | trimSuffix "-" }}
{{- end }}

{{- /* What selects the pods of a service: (list $ "es-sink"). */ -}}
{{- define "logflow.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* What every object of a service is labelled with: (list $ "es-sink"). */ -}}
{{- define "logflow.labels" -}}
{{- $root := index . 0 -}}
{{ include "logflow.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{- /* The name and the labels of an object: (list $ "es-sink"). */ -}}
{{- define "logflow.metadata" -}}
name: {{ include "logflow.fullname" (index . 0) }}-{{ index . 1 }}
labels:
  {{- include "logflow.labels" . | nindent 2 }}
{{- end }}
