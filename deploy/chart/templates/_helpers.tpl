{{- /* An image's full name, of the chart and its key below `images`; a third item is a tag that no value sets. */ -}}
{{- define "etcd-operator.image" -}}
{{- $images := (index . 0).Values.images -}}
{{- $image := index $images (index . 1) -}}
{{- with $images.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $image.repository }}:{{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}{{ $image.tag }}{{ end }}
{{- end -}}

{{- /* The extra labels of an object without labels of its own. */ -}}
{{- define "etcd-operator.labels" -}}
{{- with .Values.extraLabels }}{{ dict "labels" . | toYaml | nindent 2 }}{{ end -}}
{{- end -}}

{{- /* The extra labels behind others on one line. */ -}}
{{- define "etcd-operator.moreLabels" -}}
{{- range $key, $value := .Values.extraLabels }}, {{ $key | quote }}: {{ $value | quote }}{{ end -}}
{{- end -}}

{{- /* Secrets for pulling images, indented as asked for. */ -}}
{{- define "etcd-operator.pullSecrets" -}}
{{- $indent := index . 1 -}}
{{- with (index . 0).Values.images.pullSecrets }}{{ dict "imagePullSecrets" . | toYaml | nindent $indent }}{{ end -}}
{{- end -}}

{{- /* The operator's rights in each namespace that it serves by name. */ -}}
{{- define "etcd-operator.roleBindings" -}}
{{- range $namespace := .Values.namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: etcd-operator
  namespace: {{ $namespace }}
  {{- include "etcd-operator.labels" $ }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: etcd-operator
subjects:
- kind: ServiceAccount
  name: {{ toYaml $.Values.account.name }}
  namespace: {{ $.Release.Namespace }}
{{- end }}
{{- end -}}
