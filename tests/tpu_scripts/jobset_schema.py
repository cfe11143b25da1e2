"""The part of the JobSet API (jobset.x-k8s.io/v1alpha2) that our manifest uses, field by field; nothing else passes.

Names, types and choices are those of the API's definition, in which the whole manifest was also checked strictly (at
kubernetes-sigs/jobset 08dfbdfd, August 2026).
"""

TEXT, COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}


def fields(required: str, optional: dict | None = None, **types) -> dict:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": types | (optional or {}),
        "required": required.split(),
        "additionalProperties": False,
    }


def several(item: dict) -> dict:
    """A list of one item or more."""
    return {"type": "array", "items": item, "minItems": 1}


EXIT_CODES = fields(
    "operator values", containerName=TEXT, operator={"enum": ["In", "NotIn"]},
    values=several({"type": "integer", "minimum": 1, "maximum": 255}),
)  # fmt: skip
SECRET = fields("secretKeyRef", secretKeyRef=fields("name key", name=TEXT, key=TEXT))
CONTAINER = fields(
    "name image command resources",
    name=TEXT,
    image=TEXT,
    command=several({"type": "string"}),
    ports=several(fields("containerPort", containerPort=COUNT)),
    env=several(fields("name", name=TEXT, valueFrom=SECRET)),
    resources=fields("limits", limits={"type": "object", "additionalProperties": COUNT}),
)
POD = fields(
    "containers restartPolicy nodeSelector",
    restartPolicy={"enum": ["Never"]},  # a podFailurePolicy allows no other
    serviceAccountName=TEXT,
    terminationGracePeriodSeconds=COUNT,
    nodeSelector=LABELS,
    tolerations=several(fields("key operator", key=TEXT, operator={"enum": ["Equal"]}, value=TEXT, effect=TEXT)),
    containers=several(CONTAINER),
)
POD_RULE = fields("action", action={"enum": ["FailJob", "Ignore", "Count"]}, onExitCodes=EXIT_CODES)
JOB = fields(
    "template",
    completionMode={"enum": ["Indexed", "NonIndexed"]},
    completions=COUNT,
    parallelism=COUNT,
    backoffLimit=COUNT,
    podFailurePolicy=fields("rules", rules=several(POD_RULE)),
    template=fields("spec", spec=POD),
)
FAILURE_RULE = fields(
    "name action",
    name=TEXT,
    action={"enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"]},
    onJobFailureReasons=several({"enum": ["BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes",
                                          "MaxFailedIndexesExceeded", "PodFailurePolicy"]}),
)  # fmt: skip
REPLICATED = fields("name template", name=TEXT, replicas=COUNT, template=fields("spec", spec=JOB))
JOBSET = fields(
    "apiVersion kind metadata spec",
    apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
    kind={"const": "JobSet"},
    metadata=fields("name", name=TEXT, namespace=TEXT, labels=LABELS, annotations=LABELS),
    spec=fields(
        "replicatedJobs",
        failurePolicy=fields("", maxRestarts=COUNT, rules=several(FAILURE_RULE)),
        replicatedJobs=several(REPLICATED),
    ),
)
