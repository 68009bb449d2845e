-- Ingress: hosts and paths on port 80 and 443 that lead to Services.
return {
  group = "networking.k8s.io", version = "v1", kind = "Ingress", plural = "ingresses", shortNames = { "ing" }, scope = "Namespaced",
  subresources = { status = {} },
  validators = { "ingress" },
  initialStatus = { loadBalancer = {} },
  columns = {
    { name = "Class", path = "spec.ingressClassName", empty = "<none>", description = "Which controller serves it." },
    { name = "Hosts", column = "ingress.hosts", description = "Hosts of its rules." },
    { name = "Address", column = "ingress.address", description = "Where it is served." },
    { name = "Ports", column = "ingress.ports", description = "80, and 443 with TLS." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Hosts and paths on port 80 (and 443) of the ingress address and of every node that lead to Services. Annotations: minik8s.io/rewrite-target puts a path in place of the one that a Prefix or Exact rule matched; minik8s.io/ssl-redirect: \"true\" sends plain requests to https.",
    properties = {
      spec = { type = "object", default = {}, description = "Desired state.", properties = {
        ingressClassName = { type = "string", format = "dns-subdomain", description = "Name of the IngressClass; empty: the one that is the default." },
        defaultBackend = { ref = "IngressBackend", description = "Where requests go that no rule of any Ingress matches." },
        rules = { type = "list", maxItems = 1000, description = "Hosts with their paths.", items = {
          type = "object", message = "networking.v1.IngressRule", properties = {
            host = { type = "string", description = "Host name, or *.DOMAIN for one label more; empty: every host." },
            http = { type = "object", message = "networking.v1.HTTPIngressRuleValue", description = "Paths of the host.", properties = {
              paths = { type = "list", required = true, minItems = 1, maxItems = 1000, description = "Paths with their Services.", items = {
                type = "object", message = "networking.v1.HTTPIngressPath", properties = {
                  path = { type = "string", description = "Path of the request." },
                  pathType = { type = "string", required = true, enum = { "Exact", "ImplementationSpecific", "Prefix" },
                    description = "Exact: this path. Prefix: this path and what lies below it. ImplementationSpecific: a regular expression that the path begins with." },
                  backend = { ref = "IngressBackend", required = true, description = "Where it leads." },
                } } } } } } } },
        tls = { type = "list", maxItems = 1000, description = "Certificates for port 443.", items = {
          type = "object", message = "networking.v1.IngressTLS", properties = {
            hosts = { type = "list", maxItems = 1000, items = { type = "string" }, description = "Hosts that the certificate is shown for; empty: those of the rules." },
            secretName = { type = "string", format = "dns-subdomain", description = "Secret with tls.crt and tls.key." },
          } } },
      } },
      status = { type = "object", description = "Present state.", properties = {
        loadBalancer = { type = "any", description = "Addresses at which it is served: of the ingress and of nodes." },
      } },
    },
  },
  types = {
    IngressBackend = {
      type = "object", message = "networking.v1.IngressBackend", description = "A Service's port.", properties = {
        service = { type = "object", message = "networking.v1.IngressServiceBackend", description = "The Service.", properties = {
          name = { type = "string", required = true, format = "dns-label", description = "Name of the Service in the same namespace." },
          port = { type = "object", message = "networking.v1.ServiceBackendPort", default = {}, description = "Its port, by name or number.", properties = {
            name = { type = "string", format = "dns-label", description = "Name of the port." },
            number = { type = "integer", zeroUnset = true, format = "port", description = "Number of the port." },
          } },
        } },
        resource = { type = "any", refused = "only Services can be backends", description = "Not supported." },
      },
    },
  },
}
