-- ReplicaSet: keeps a number of equal pods (framework/replicas.lua).
return require("framework.replicas").controller("replicaset", "replicasets.apps")
