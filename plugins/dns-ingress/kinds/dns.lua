-- DNS: the short form of an Ingress: one host, paths that lead to Services.
return {
  group = "minik8s.io", version = "v1", kind = "DNS", plural = "dns", singular = "dns", scope = "Namespaced",
  subresources = { status = {} },
  validators = { "dns" },
  columns = {
    { name = "Host", path = "spec.host", description = "Name that leads to the paths." },
    { name = "Paths", column = "dns.paths", description = "PATH->SERVICE:PORT." },
    { name = "Address", column = "ingress.address", description = "Where it is served." },
    { name = "Ready", column = "dns.ready", description = "Whether every path leads to its Service." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "One host and its paths, each leading to a Service: the short form of an Ingress, which it makes and owns under its own name.",
    properties = {
      spec = { type = "object", required = true, description = "Desired state.", properties = {
        host = { type = "string", required = true, description = "Name that pods, nodes and the machine of the cluster resolve, or *.DOMAIN." },
        paths = { type = "list", required = true, minItems = 1, maxItems = 1000, description = "Paths with their Services.", items = {
          type = "object", properties = {
            path = { type = "string", default = "/", description = "This path and what lies below it." },
            service = { type = "string", required = true, format = "dns-label", description = "Name of the Service in the same namespace." },
            port = { type = "integer", required = true, format = "port", description = "Port of the Service." },
          } } },
        rewrite = { type = "string", description = "Path that the Services see in place of the one that matched; empty: unchanged." },
        secretName = { type = "string", format = "dns-subdomain", description = "Secret with tls.crt and tls.key for port 443." },
      } },
      status = { type = "object", description = "Present state.", properties = {
        loadBalancer = { type = "any", description = "Addresses at which it is served." },
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "Ready." },
      } },
    },
  },
}
