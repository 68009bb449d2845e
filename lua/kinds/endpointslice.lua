-- EndpointSlice: addresses behind a Service.
return {
  group = "discovery.k8s.io", version = "v1", kind = "EndpointSlice", plural = "endpointslices", scope = "Namespaced", everyNode = true,
  generation = { "endpoints", "ports", "addressType" },
  validators = { "endpointSlice" },
  columns = {
    { name = "AddressType", path = "addressType", description = "IPv4, IPv6 or FQDN." },
    { name = "Ports", column = "slice.ports", description = "Ports of the endpoints." },
    { name = "Endpoints", column = "slice.endpoints", description = "Addresses." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Addresses of pods behind a Service; label kubernetes.io/service-name names it.",
    properties = {
      addressType = { type = "string", required = true, immutable = true, enum = { "IPv4", "IPv6", "FQDN" }, description = "Kind of all addresses." },
      endpoints = { type = "list", maxItems = 1000, description = "The endpoints.", items = {
        type = "object", message = "discovery.v1.Endpoint", properties = {
          addresses = { type = "list", required = true, minItems = 1, maxItems = 100, items = { type = "string" }, description = "Addresses of the endpoint." },
          conditions = { type = "object", message = "discovery.v1.EndpointConditions", description = "State of the endpoint.", properties = {
            ready = { type = "boolean", description = "May get traffic; absent counts as true." },
            serving = { type = "boolean", description = "Answers, also while it is ending." },
            terminating = { type = "boolean", description = "Is ending." },
          } },
          hostname = { type = "string", format = "dns-label", description = "Name of the endpoint in a headless Service." },
          nodeName = { type = "string", description = "Node that it is on." },
          zone = { type = "string", description = "Zone that it is in." },
          targetRef = { ref = "ObjectReference", description = "Pod behind it." },
          hints = { type = "any", description = "Which zones should use it." },
        } } },
      ports = { type = "list", maxItems = 100, description = "Ports of all endpoints.", items = {
        type = "object", message = "discovery.v1.EndpointPort", properties = {
          name = { type = "string", keepEmpty = true, default = "", description = "Name of the Service's port." },
          port = { type = "integer", format = "port", description = "Port of the endpoint." },
          protocol = { type = "string", enum = { "TCP", "UDP", "SCTP" }, default = "TCP", description = "Transport protocol." },
          appProtocol = { type = "string", description = "Protocol of the application, a hint only." },
        } } },
    },
  },
}
