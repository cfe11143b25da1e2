#!/usr/bin/env bash
# Prints the JobSet manifest of a run on GKE; nothing is started. See gke.md.
#
#   tpu_scripts/jobset.sh --name=encore-8b --accelerator=v5e:4x4 --bucket=gs://my-bucket --image=IMAGE \
#     --config=experiments/configs/encore_llama31_8b.py | kubectl apply -f -
#
# Every host of the slice runs the same command. A run that was preempted (exit code 75) or lost its machine starts
# again from its checkpoints in the bucket; any other failure ends the JobSet.
#
#   --image         IMAGE         the checkout as an image that the cluster can read
#   --namespace     NAMESPACE     default by default
#   --queue         QUEUE         Kueue's LocalQueue, if the cluster has Kueue
#   --pod-account   POD_ACCOUNT   Kubernetes service account that may write to the bucket; default by default
#   --hf-secret     HF_SECRET     Kubernetes secret with the key token, for gated models
#   --slices        SLICES        1 by default; --accelerator=2xv5e:8x8 says it as well
#   --restarts      RESTARTS      50 by default
#   --grace         GRACE         seconds from the notice to the end; 120 by default, of which a spot node leaves 30
set -euo pipefail
# shellcheck source=tpu_scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VALUED+=(IMAGE NAMESPACE QUEUE POD_ACCOUNT HF_SECRET SLICES RESTARTS GRACE)
TAKES_RUN_ARGUMENTS=1
parse "$@"
need NAME ACCELERATOR BUCKET IMAGE --config
need_config
SLICES=${SLICES:-1} RESTARTS=${RESTARTS:-50} GRACE=${GRACE:-120}
[[ $NAME =~ ^.{1,40}$ ]] || usage_error "--name: at most 40 characters, to which the pods' names add theirs"
declare -A kinds=([v4]=tpu-v4-podslice [v5e]=tpu-v5-lite-podslice [v5p]=tpu-v5p-slice [v6e]=tpu-v6e-slice)
case $TOPOLOGY in
  1x1) per_host=1 ;;
  2x4) per_host=8 ;;
  *) per_host=4 ;;
esac
hosts=$((CHIPS / per_host))

# json TEXT: as a JSON string, which is one in YAML as well.
json() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

arguments=(python -m experiments.run "${RUN_ARGUMENTS[@]}")
given --multihost || arguments+=(--multihost=auto)
given --workdir || arguments+=(--workdir=/tmp/work)
given --config.train.checkpoints || given --checkpoints || arguments+=("--checkpoints=gs://$BUCKET/$RUN/checkpoints")

cat <<EOT
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: $(json "$NAME")
  namespace: $(json "${NAMESPACE:-default}")
EOT
[[ -z $QUEUE ]] || printf '  labels:\n    kueue.x-k8s.io/queue-name: %s\n' "$(json "$QUEUE")"
cat <<EOT
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: $RESTARTS
    rules:
    - name: failed
      action: FailJobSet
      onJobFailureReasons: [PodFailurePolicy]
  replicatedJobs:
  - name: slice
    replicas: $SLICES
    template:
      spec:
        completionMode: Indexed
        completions: $hosts
        parallelism: $hosts
        backoffLimit: 0
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes:
              containerName: run
              operator: NotIn
              values: [$PREEMPTED, 137, 143]
        template:
          spec:
            restartPolicy: Never
            serviceAccountName: $(json "${POD_ACCOUNT:-default}")
            terminationGracePeriodSeconds: $GRACE
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: ${kinds[$GENERATION]}
              cloud.google.com/gke-tpu-topology: $TOPOLOGY
EOT
if [[ $SPOT ]]; then
  cat <<EOT
              cloud.google.com/gke-spot: "true"
            tolerations:
            - key: cloud.google.com/gke-spot
              operator: Equal
              value: "true"
              effect: NoSchedule
EOT
fi
cat <<EOT
            containers:
            - name: run
              image: $(json "$IMAGE")
              ports:
              - containerPort: 8471
              - containerPort: 8080
EOT
if [[ $HF_SECRET ]]; then
  cat <<EOT
              env:
              - name: HF_TOKEN
                valueFrom:
                  secretKeyRef:
                    name: $(json "$HF_SECRET")
                    key: token
EOT
fi
cat <<EOT
              resources:
                limits:
                  google.com/tpu: $per_host
              command:
EOT
for argument in "${arguments[@]}"; do printf '              - %s\n' "$(json "$argument")"; done
