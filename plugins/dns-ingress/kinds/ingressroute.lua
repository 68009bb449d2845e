-- IngressRoute: what one Ingress means after conflicts are decided and Services looked up. Every node follows these.
return {
  group = "minik8s.io", version = "v1", kind = "IngressRoute", plural = "ingressroutes", scope = "Namespaced", everyNode = true,
  references = { { resource = "secrets", path = "spec.tls[*].secret" } },
  columns = {
    { name = "Address", path = "spec.address", empty = "<none>", description = "Where its names lead." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "What one Ingress means for the proxies: written by the manager, followed by every node. Not for users.",
    properties = {
      spec = { type = "object", default = {}, description = "Desired state.", properties = {
        address = { type = "string", description = "Virtual address that the names lead to." },
        hosts = { type = "list", items = { type = "string" }, description = "Names that lead to it." },
        routes = { type = "list", maxItems = 100000, description = "One per host and path.", items = { type = "object", properties = {
          host = { type = "string", keepEmpty = true, description = "Host, *.DOMAIN, or empty for every host." },
          type = { type = "string", enum = { "Exact", "Prefix", "Regex", "Default" }, description = "How path is compared." },
          path = { type = "string", description = "Path, or regular expression." },
          service = { type = "string", description = "NAMESPACE/NAME:PORT, for messages and figures." },
          address = { type = "string", description = "Virtual address of the Service, or a name to be resolved; empty: there is none." },
          port = { type = "integer", description = "Port there." },
          target = { type = "string", description = "Path that takes the place of the one that matched." },
          redirect = { type = "boolean", description = "Send plain requests to https." },
        } } },
        problems = { type = "list", description = "What of the Ingress is not as it asks.", items = { type = "object", properties = {
          reason = { type = "string", description = "RouteConflict, HostReserved, BackendNotFound or CertificateNotFound." },
          message = { type = "string", description = "A sentence." },
        } } },
        tls = { type = "list", description = "Certificates.", items = { type = "object", properties = {
          secret = { type = "string", description = "Secret in the same namespace." },
          hosts = { type = "list", items = { type = "string" }, description = "Hosts that it is shown for." },
          revision = { type = "string", description = "resourceVersion of the Secret, so that nodes fetch it anew." },
        } } },
      } },
    },
  },
}
