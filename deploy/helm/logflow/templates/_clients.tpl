{{- /* How clients reach a service: (list $ "query-api" .Values.queryApi 5000). */ -}}
{{- define "logflow.clientService" -}}
{{- $root := index . 0 }}
{{- $name := index . 1 }}
{{- $values := index . 2 }}
{{- $fullname := printf "%s-%s" (include "logflow.fullname" $root) $name -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "logflow.metadata" . | nindent 2 }}
  {{- with $values.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $values.service.type }}
  selector:
    {{- include "logflow.selector" . | nindent 4 }}
  ports:
    - { name: http, port: {{ index . 3 }}, targetPort: http }
{{- with $values.ingress }}
{{- if .enabled }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  {{- include "logflow.metadata" (list $root $name) | nindent 2 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .className }}
  ingressClassName: {{ . }}
  {{- end }}
  {{- if .tlsSecret }}
  tls:
    - hosts: [{{ quote .host }}]
      secretName: {{ .tlsSecret }}
  {{- end }}
  rules:
    - host: {{ quote .host }}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: {{ $fullname }}
                port: { name: http }
{{- end }}
{{- end }}
{{- end }}
