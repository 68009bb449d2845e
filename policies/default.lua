-- The standard profile: which policies decide when a PolicyProfile says nothing, and whenever another policy fails.
return {
    ["scheduler.filter"] = {
        policies = { { name = "ready" }, { name = "taints" }, { name = "selector" }, { name = "ports" }, { name = "resources" },
            { name = "volumes" } },
    },
    ["scheduler.score"] = {
        policies = { { name = "spread", weight = 10 }, { name = "preferred", weight = 5 }, { name = "least-requested", weight = 1 } },
    },
    ["scheduler.first"] = { policies = { { name = "priority" } } },
    ["restart.backoff"] = { policies = { { name = "doubling" } } },
    ["evict.choose"] = { policies = { { name = "least-important" } } },
    ["workflow.branch"] = { policies = { { name = "conditions" } } },
    ["workflow.retry"] = { policies = { { name = "limited" } } },
    ["function.scale"] = { policies = { { name = "concurrency" } } },
    ["balance"] = { policies = { { name = "random" } } },
    ["scheduler.filter.near"] = { policies = { { name = "affinity" }, { name = "topology-spread" } } },
    ["scheduler.score.near"] = { policies = { { name = "neighbours", weight = 20 }, { name = "even", weight = 20 } } },
    ["scheduler.preempt"] = { policies = { { name = "least-harm" } } },
    ["rollout"] = { policies = { { name = "rolling" } } },
    ["autoscale.metric"] = { policies = { { name = "pods" } } },
    ["autoscale.decide"] = { policies = { { name = "target-utilization" } } },
    ["autoscale.limit"] = { policies = { { name = "limits" } } },
}
