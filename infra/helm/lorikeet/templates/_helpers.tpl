{{- define "lorikeet.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "lorikeet.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Routers have their own labels, so that the servers' Service sends them no requests. */}}
{{- define "lorikeet.routerSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-router
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The Service that takes requests. */}}
{{- define "lorikeet.entry" -}}
{{ include "lorikeet.name" . }}{{ if .Values.modelRouter.enabled }}-router{{ end }}
{{- end }}

{{- define "lorikeet.labels" -}}
{{ include "lorikeet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "lorikeet.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "lorikeet.name" .) }}
{{- end }}

{{- define "lorikeet.image" -}}
{{- with .Values.image.digest }}{{ $.Values.image.repository }}@{{ . }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Settings that the server and its trainers share: the store and the base. Secrets come from Secrets only. */}}
{{- define "lorikeet.sharedEnv" -}}
- { name: LORIKEET_HOME, value: /data }
- { name: LORIKEET_STORE, value: {{ .Values.store.url | quote }} }
- { name: LORIKEET_S3_PATH_STYLE, value: {{ .Values.store.pathStyle | quote }} }
- { name: LORIKEET_S3_CHECKSUMS, value: {{ .Values.store.checksums | quote }} }
- { name: AWS_REGION, value: {{ .Values.store.region | quote }} }
{{- with .Values.store.endpoint }}
- { name: AWS_ENDPOINT_URL_S3, value: {{ . | quote }} }
{{- end }}
{{- with .Values.base.model }}
- { name: LORIKEET_MODEL, value: {{ . | quote }} }
{{- else }}
{{- if .Values.base.baked }}
- { name: LORIKEET_MODEL, value: /data/models/base }
{{- end }}
{{- end }}
{{- end }}

{{/* The server's settings as environment variables. */}}
{{- define "lorikeet.env" -}}
{{ include "lorikeet.sharedEnv" . }}
- { name: HOST, value: "0.0.0.0" }
- { name: LORIKEET_KEYS, value: /etc/lorikeet/keys.json }
- { name: LORIKEET_ALLOWED_HOSTS, value: {{ join "," .Values.allowedHosts | quote }} }
- { name: LORIKEET_WEIGHTS, value: {{ .Values.engine.weights | quote }} }
- { name: LORIKEET_PROVIDER, value: {{ .Values.engine.provider }} }
{{- with .Values.engine.slots }}
- { name: LORIKEET_SLOTS, value: {{ . | quote }} }
{{- end }}
{{- with .Values.engine.maxSeq }}
- { name: LORIKEET_MAX_SEQ, value: {{ . | quote }} }
{{- end }}
{{- with .Values.engine.adapterCache }}
- { name: LORIKEET_ADAPTER_CACHE, value: {{ . | quote }} }
{{- end }}
{{- with .Values.engine.threads }}
- { name: LORIKEET_THREADS, value: {{ . | quote }} }
{{- end }}
{{- if eq .Values.mode "deployment" }}
- { name: LORIKEET_DRAIN_DELAY_MS, value: {{ mul .Values.drain.delaySeconds 1000 | quote }} }
{{- if .Values.inferencePool.enabled }}
- { name: LORIKEET_METRICS_PORT, value: {{ .Values.inferencePool.metricsPort | quote }} }
{{- with .Values.inferencePool.kvEventsPort }}
- { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
- { name: LORIKEET_KV_EVENTS, value: "tcp://*:{{ . }}" }
- { name: LORIKEET_KV_EVENTS_POD, value: "$(POD_IP):8080" }
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.limits.urlSecret.name }}
- name: LORIKEET_LIMITS
  valueFrom: { secretKeyRef: { name: {{ .Values.limits.urlSecret.name }}, key: {{ .Values.limits.urlSecret.key }} } }
{{- else if .Values.limits.url }}
- { name: LORIKEET_LIMITS, value: {{ .Values.limits.url | quote }} }
{{- end }}
- { name: LORIKEET_TRAINING, value: {{ .Values.jobs.parallel | quote }} }
{{- if and (eq .Values.jobs.runner "process") .Values.jobs.parallel }}
{{- /* Sizes that the values fix are not reduced for it. */}}
{{- $isFixed := or .Values.engine.slots .Values.engine.maxSeq .Values.engine.adapterCache }}
{{- with .Values.jobs.memory | default (ternary "" "1536MiB" (not (empty $isFixed))) }}
- { name: LORIKEET_TRAIN_MEMORY, value: {{ . | quote }} }
{{- end }}
{{- end }}
{{- if eq .Values.jobs.runner "kubernetes" }}
- { name: LORIKEET_TRAIN_RUNNER, value: kubernetes }
- { name: LORIKEET_TRAIN_POD, value: /etc/lorikeet-trainer/pod.json }
{{- with .Values.jobs.queue }}
- { name: LORIKEET_TRAIN_QUEUE, value: {{ . | quote }} }
{{- end }}
{{- end }}
{{- include "lorikeet.extraEnv" .Values.env }}
{{- end }}

{{/* A map of variables; a value is a scalar, or { valueFrom: … }. */}}
{{- define "lorikeet.extraEnv" -}}
{{- range $name, $value := . }}
{{- if kindIs "map" $value }}
- {{ dict "name" $name "valueFrom" $value.valueFrom | toJson }}
{{- else }}
- { name: {{ $name }}, value: {{ $value | quote }} }
{{- end }}
{{- end }}
{{- end }}

{{- define "lorikeet.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 1000
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* The server's container. `port` differs, because Knative chooses its own. */}}
{{- define "lorikeet.container" -}}
image: {{ include "lorikeet.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "lorikeet.env" . | nindent 2 }}
{{- with .Values.store.credentialsSecret }}
envFrom:
  - secretRef: { name: {{ . }} }
{{- end }}
ports:
  - name: {{ ternary "http1" "http" (eq .Values.mode "knative") }}
    containerPort: 8080
  {{- if and .Values.inferencePool.enabled (eq .Values.mode "deployment") }}
  - { name: metrics, containerPort: {{ .Values.inferencePool.metricsPort }} }
  {{- with .Values.inferencePool.kvEventsPort }}
  - { name: kv-events, containerPort: {{ . }} }
  {{- end }}
  {{- end }}
readinessProbe:
  httpGet: { path: /readyz, port: 8080 }
  periodSeconds: 2
livenessProbe:
  httpGet: { path: /livez, port: 8080 }
  periodSeconds: 10
  failureThreshold: 3
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "lorikeet.securityContext" . | nindent 2 }}
volumeMounts:
  - { name: keys, mountPath: /etc/lorikeet, readOnly: true }
  {{- if eq .Values.jobs.runner "kubernetes" }}
  - { name: trainer, mountPath: /etc/lorikeet-trainer, readOnly: true }
  {{- end }}
  - { name: tmp, mountPath: /tmp }
  {{- if .Values.base.baked }}
  {{- range list "adapters" "batches" "jobs" "tinker" "uploads" }}
  - { name: data, mountPath: /data/cache/{{ . }}, subPath: {{ . }} }
  {{- end }}
  {{- else }}
  - { name: data, mountPath: /data }
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "lorikeet.volumes" -}}
- name: keys
  secret: { secretName: {{ .Values.keysSecret }} }
{{- if eq .Values.jobs.runner "kubernetes" }}
- name: trainer
  configMap: { name: {{ include "lorikeet.name" . }}-trainer }
{{- end }}
- name: tmp
  emptyDir: {}
- name: data
  {{- if .Values.data.storageClass }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        accessModes: [ReadWriteOnce]
        storageClassName: {{ .Values.data.storageClass }}
        resources: { requests: { storage: {{ .Values.data.size }} } }
  {{- else }}
  emptyDir: { sizeLimit: {{ .Values.data.size }} }
  {{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lorikeet.trainerAccount" -}}
{{ .Values.jobs.serviceAccount.name | default (printf "%s-trainer" (include "lorikeet.name" .)) }}
{{- end }}

{{/* Trainers have their own labels, so that the server's Service sends them no requests. */}}
{{- define "lorikeet.trainerLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-trainer
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The pod of every trainer. The server fills in name, arguments and memory. */}}
{{- define "lorikeet.trainerPod" -}}
metadata:
  labels:
    {{- include "lorikeet.trainerLabels" . | nindent 4 }}
    {{- with .Values.jobs.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.jobs.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "lorikeet.trainerAccount" . }}
  # A trainer needs no access to the cluster's API.
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.jobs.terminationGracePeriodSeconds }}
  securityContext: { fsGroup: 1000 }
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.jobs.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.jobs.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: trainer
      image: {{ include "lorikeet.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      env:
        {{- include "lorikeet.sharedEnv" . | nindent 8 }}
        {{- include "lorikeet.extraEnv" .Values.jobs.env | nindent 8 }}
      {{- with .Values.jobs.credentialsSecret | default .Values.store.credentialsSecret }}
      envFrom:
        - secretRef: { name: {{ . }} }
      {{- end }}
      resources:
        {{- toYaml .Values.jobs.resources | nindent 8 }}
      securityContext:
        {{- include "lorikeet.securityContext" . | nindent 8 }}
      volumeMounts:
        - { name: tmp, mountPath: /tmp }
        {{- if .Values.base.baked }}
        - { name: data, mountPath: /data/jobs, subPath: jobs }
        {{- else }}
        - { name: data, mountPath: /data }
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    - name: data
      emptyDir: { sizeLimit: {{ .Values.jobs.dataSize }} }
{{- end }}
