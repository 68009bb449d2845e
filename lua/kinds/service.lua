-- Service: one stable address for many pods.
return {
  version = "v1", kind = "Service", plural = "services", shortNames = { "svc" }, categories = { "all" }, scope = "Namespaced", everyNode = true, nameRule = "label",
  subresources = { status = {} },
  validators = { "service" },
  matched = { "spec.clusterIP", "spec.type" },
  initialStatus = { loadBalancer = {} },
  columns = {
    { name = "Type", path = "spec.type", description = "ClusterIP, NodePort, LoadBalancer or ExternalName." },
    { name = "Cluster-IP", path = "spec.clusterIP", empty = "<none>", description = "Virtual address." },
    { name = "External-IP", column = "service.externalIP", description = "Address from outside, or the external name." },
    { name = "Port(s)", column = "service.ports", description = "PORT[:NODE PORT]/PROTOCOL." },
    { name = "Age", column = "age", description = "Time since its creation." },
    { name = "Selector", column = "selector", priority = 1, description = "Labels of the pods behind it." },
  },
  schema = {
    description = "One stable address and name for the pods that a selector names.",
    properties = {
      spec = { type = "object", hook = "serviceSpec", rule = "serviceSpec", default = {}, description = "Desired state.", properties = {
        type = { type = "string", enum = { "ClusterIP", "NodePort", "LoadBalancer", "ExternalName" }, default = "ClusterIP",
          description = "ClusterIP: inside only. NodePort: also on a port of every node. LoadBalancer: also at the addresses that somebody outside writes into status.loadBalancer.ingress; until then like NodePort. ExternalName: another name for externalName." },
        selector = { type = "map", ["x-kubernetes-map-type"] = "atomic", keyFormat = "label-key", additionalProperties = { type = "string", format = "label-value" },
          description = "Labels of the pods; empty: endpoints are made by hand." },
        clusterIP = { type = "string", description = "Virtual address; given by the server if empty. None: headless, names resolve to the pods." },
        clusterIPs = { type = "list", items = { type = "string" }, description = "The same as a list." },
        ports = { type = "list", mergeKey = "port", ["x-kubernetes-list-map-keys"] = { "port", "protocol" }, maxItems = 256, description = "Ports of the Service.", items = { ref = "ServicePort" } },
        sessionAffinity = { type = "string", enum = { "ClientIP", "None" }, default = "None", description = "ClientIP: one client stays with one pod." },
        sessionAffinityConfig = { type = "object", message = "core.v1.SessionAffinityConfig", description = "Settings of sessionAffinity.", properties = {
          clientIP = { type = "object", message = "core.v1.ClientIPConfig", description = "Settings of ClientIP.", properties = {
            timeoutSeconds = { type = "integer", minimum = 1, maximum = 86400, description = "Seconds that a client stays with its pod. Default 10800." } } } } },
        externalName = { type = "string", zeroUnset = true, format = "dns-subdomain", description = "Name that an ExternalName Service stands for: of another Service (db.prod.svc.cluster.local), or one that the nodes' machines can resolve." },
        externalIPs = { type = "list", maxItems = 64, items = { type = "string", format = "ipv4" }, description = "Further addresses at which every node takes the Service's ports; to lead them to a node is the network's business." },
        externalTrafficPolicy = { type = "string", enum = { "Cluster", "Local" }, description = "Local: a node port leads to pods of that node only." },
        internalTrafficPolicy = { type = "string", enum = { "Cluster", "Local" }, description = "Local: clients reach pods of their own node only." },
        publishNotReadyAddresses = { type = "boolean", zeroUnset = true, description = "Also pods that are not ready get traffic and names." },
        ipFamilies = { type = "list", items = { type = "string", enum = { "IPv4" } }, default = { "IPv4" }, description = "Only IPv4." },
        ipFamilyPolicy = { type = "string", enum = { "SingleStack", "PreferDualStack" }, default = "SingleStack", description = "Only one address family is used." },
        allocateLoadBalancerNodePorts = { type = "boolean", description = "Only for LoadBalancer; false: no node ports but those asked for. Default true." },
      } },
      status = { type = "object", description = "Present state.", properties = {
        loadBalancer = { type = "any", description = "Addresses from outside." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "Statements about the Service." },
      } },
    },
  },
  types = {
    ServicePort = {
      type = "object", message = "core.v1.ServicePort", hook = "servicePort", description = "A port of a Service.",
      properties = {
        name = { type = "string", format = "dns-label", description = "Name; needed if there are several ports." },
        port = { type = "integer", format = "port", required = true, description = "Port at the virtual address." },
        targetPort = { type = "string", format = "port-or-name", description = "Number or name of the pods' port. Default: port." },
        protocol = { type = "string", enum = { "TCP", "UDP" }, default = "TCP", description = "Transport protocol." },
        nodePort = { type = "integer", zeroUnset = true, minimum = 30000, maximum = 32767, description = "Port on every node; given by the server if empty." },
        appProtocol = { type = "string", description = "Protocol of the application, a hint only." },
      },
    },
  },
}
