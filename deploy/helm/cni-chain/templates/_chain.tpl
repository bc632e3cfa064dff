{{- /* The chain that the values ask for, as YAML: owners, name, and the networks' and meshes' agents for the notes. */ -}}
{{- define "cni-chain.chain" -}}
{{- $chain := dict "owners" .Values.owners "name" .Values.networkName "network" dict "mesh" dict }}
{{- if and .Values.preset .Values.owners }}
{{- fail "owners: not together with preset: empty one of the two, by --set preset= or --set-json 'owners=[]'" }}
{{- else if .Values.preset }}
{{- $known := .Files.Get "presets.yaml" | fromYaml }}
{{- $words := splitList "+" .Values.preset }}
{{- $network := get $known.networks (first $words) }}
{{- $owners := list $network.owner }}
{{- if eq (len $words) 2 }}
{{- $mesh := get $known.meshes (last $words) }}
{{- $_ := set $chain "mesh" $mesh.moved }}
{{- $_ := set $chain "network" (default $network.moved $network.movedBesideMesh) }}
{{- $owners = append $owners $mesh.owner }}
{{- else }}
{{- $_ := set $chain "network" $network.moved }}
{{- end }}
{{- $_ := set $chain "owners" (append $owners "local") }}
{{- $_ := set $chain "name" (default $network.name .Values.networkName) }}
{{- else if not .Values.owners }}
{{- fail "preset: name the agents of this cluster, such as --set preset=cilium+istio-ambient, or give owners" }}
{{- end }}
{{- $names := list }}
{{- range $chain.owners }}
{{- $names = append $names (first (splitList ":" .)) }}
{{- end }}
{{- if ne (len $names) (len (uniq $names)) }}
{{- fail (printf "owners: each one time only, with all its types: %s" (join ", " $chain.owners)) }}
{{- end }}
{{- range .Values.without }}
{{- if has . $names }}
{{- fail (printf "without: %s is one of the owners: %s; --set-json 'without=[]' takes nobody out" . (join ", " $names)) }}
{{- end }}
{{- end }}
{{- range .Values.optional }}
{{- if not (has . $names) }}
{{- fail (printf "optional: %s is none of the owners: %s" . (join ", " $names)) }}
{{- end }}
{{- end }}
{{- range .Values.exempt }}
{{- if not (has (first (splitList "=" .)) $names) }}
{{- fail (printf "exempt: %s: its owner is none of: %s" . (join ", " $names)) }}
{{- end }}
{{- end }}
{{- toYaml $chain }}
{{- end }}

{{- /* The wanted state. A YAML file's `on` and `off` without quotes are true and false. */ -}}
{{- define "cni-chain.state" -}}
{{- if kindIs "bool" .Values.state }}{{ ternary "on" "off" .Values.state }}{{ else }}{{ .Values.state }}{{ end }}
{{- end }}

{{- define "cni-chain.image" -}}
{{- if and .Values.image.tag .Values.image.digest }}
{{- fail "image.digest: not together with image.tag: a digest names one image already" }}
{{- end }}
{{- .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "cni-chain.selector" -}}
app.kubernetes.io/name: cni-chain
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
{{- end }}

{{- define "cni-chain.labels" -}}
{{ include "cni-chain.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- /* The account of the container that takes the start-up taint off, and of the objects that bound it. */ -}}
{{- define "cni-chain.startup-taint" -}}
{{ .Release.Name }}-startup-taint
{{- end }}

{{- /* An agent's commands, and what to know before, for the notes: agent, and the directory of the owners. */ -}}
{{- define "cni-chain.moved" }}
{{- range .agent.commands }}
  {{ . | replace "/etc/cni/chain.d" $.directory }}
{{- end }}
{{- range .agent.remarks }}
  ({{ . | replace "/etc/cni/chain.d" $.directory }})
{{- end }}
{{- end }}
