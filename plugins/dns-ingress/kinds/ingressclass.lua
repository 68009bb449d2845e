-- IngressClass: who serves the Ingresses that name it.
return {
  group = "networking.k8s.io", version = "v1", kind = "IngressClass", plural = "ingressclasses", scope = "Cluster",
  columns = {
    { name = "Controller", path = "spec.controller", description = "Name of the controller." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Who serves the Ingresses that name it. The annotation ingressclass.kubernetes.io/is-default-class: \"true\" makes it the class of Ingresses that name none. While there is no IngressClass at all, minik8s serves every Ingress.",
    properties = {
      spec = { type = "object", default = {}, description = "Desired state.", properties = {
        controller = { type = "string", immutable = true, maxLength = 250, description = "minik8s.io/ingress: the proxies of the nodes. Any other: somebody else's." },
        parameters = { type = "any", refused = "the proxies of the nodes take no parameters", description = "Not supported." },
      } },
    },
  },
}
