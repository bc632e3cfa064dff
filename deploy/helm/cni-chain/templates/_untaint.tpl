{{- /* The second container: it takes the start-up taint off its own node when the agent says that the node is ready. */ -}}
{{- define "cni-chain.untaint" -}}
- name: untaint
  image: {{ required "startupTaint.image: an image that has sh and kubectl" .Values.startupTaint.image | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c]
  args:
    - |
      while :; do
        if kubectl --server=http://127.0.0.1:{{ .Values.port }} get --raw=/readyz >/dev/null 2>&1 &&
          keys=$(kubectl get node "$NODE" --output='jsonpath={.spec.taints[*].key}'); then
          case " $keys " in
            *" $KEY "*) kubectl taint node "$NODE" "$KEY-" ;;
            *) while :; do sleep 3600; done ;; # a node gets this taint only when it is registered
          esac
        fi
        sleep 2
      done
  env:
    - name: NODE
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
    - name: KEY
      value: {{ .Values.startupTaint.key | quote }}
  resources:
    requests: {cpu: 1m, memory: 16Mi}
    limits: {memory: 128Mi}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65534
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
  volumeMounts:
    - name: token
      mountPath: /var/run/secrets/kubernetes.io/serviceaccount
      readOnly: true
{{- end }}
