-- Endpoints: the older form of EndpointSlices.
return {
  version = "v1", kind = "Endpoints", plural = "endpoints", singular = "endpoints", shortNames = { "ep" }, scope = "Namespaced",
  generation = {},
  columns = {
    { name = "Endpoints", column = "endpoints.addresses", description = "Addresses that get traffic." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "Addresses behind the Service of the same name. Made from its EndpointSlices if it has a selector; else made by hand and carried into EndpointSlices.",
    properties = {
      subsets = { type = "list", ["x-kubernetes-list-type"] = "atomic", rule = "endpointSubsets", description = "Addresses, by the ports that they have.", items = {
        type = "object", message = "core.v1.EndpointSubset", properties = {
          addresses = { type = "list", maxItems = 10000, items = { ref = "EndpointAddress" }, description = "Those that get traffic." },
          notReadyAddresses = { type = "list", maxItems = 10000, items = { ref = "EndpointAddress" }, description = "Those that are not ready." },
          ports = { type = "list", maxItems = 100, description = "Ports of all addresses.", items = {
            type = "object", message = "core.v1.EndpointPort", properties = {
              name = { type = "string", format = "dns-label", description = "Name of the Service's port; needed if there are several." },
              port = { type = "integer", required = true, format = "port", description = "Number of the port." },
              protocol = { type = "string", enum = { "TCP", "UDP", "SCTP" }, default = "TCP", description = "Transport protocol." },
              appProtocol = { type = "string", description = "Protocol of the application, a hint only." },
            } } },
        } } },
    },
  },
  types = {
    EndpointAddress = {
      type = "object", message = "core.v1.EndpointAddress", ["x-kubernetes-map-type"] = "atomic", description = "One address.",
      properties = {
        ip = { type = "string", required = true, format = "ip", description = "The address." },
        hostname = { type = "string", format = "dns-label", description = "Name of the endpoint in a headless Service." },
        nodeName = { type = "string", description = "Node that it is on." },
        targetRef = { ref = "ObjectReference", description = "Pod behind it." },
      },
    },
  },
}
