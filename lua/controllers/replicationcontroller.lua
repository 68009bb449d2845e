-- ReplicationController: the ReplicaSet's forerunner, the same with a plain map as selector (framework/replicas.lua).
return require("framework.replicas").controller("replicationcontroller", "replicationcontrollers")
