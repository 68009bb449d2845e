-- CustomResourceDefinition: adds a kind to the API.
return {
  group = "apiextensions.k8s.io", version = "v1", kind = "CustomResourceDefinition", plural = "customresourcedefinitions",
  shortNames = { "crd", "crds" }, scope = "Cluster",
  subresources = { status = {} },
  validators = { "crd" },
  columns = {
    { name = "Created At", path = "metadata.creationTimestamp", description = "When it was created." },
  },
  schema = {
    description = "Adds a kind to the API: its names, and its schema per version.",
    properties = {
      spec = { type = "object", required = true, description = "Desired state.", properties = {
        group = { type = "string", format = "dns-subdomain", required = true, immutable = true, description = "Group of the kind." },
        names = { type = "object", required = true, description = "Names of the kind.", properties = {
          plural = { type = "string", format = "dns-label", required = true, immutable = true, description = "Name in paths." },
          singular = { type = "string", format = "dns-label", description = "Name on the command line." },
          kind = { type = "string", required = true, immutable = true, pattern = "^[A-Z][A-Za-z0-9]*$", description = "Name in objects." },
          listKind = { type = "string", description = "Name of a list of it." },
          shortNames = { type = "list", items = { type = "string", format = "dns-label" }, description = "Short names on the command line." },
          categories = { type = "list", items = { type = "string" }, description = "Groups of kinds such as all." },
        } },
        scope = { type = "string", required = true, immutable = true, enum = { "Namespaced", "Cluster" }, description = "Namespaced or Cluster." },
        preserveUnknownFields = { type = "boolean", zeroUnset = true, refused = "must be false; use x-kubernetes-preserve-unknown-fields in the schema", description = "Only false." },
        conversion = { type = "object", description = "How versions become each other.", properties = {
          strategy = { type = "string", enum = { "None" }, default = "None", description = "Only None: the same object in all versions." },
          webhook = { type = "any", pending = true, description = "Who turns versions into each other." } } },
        versions = { type = "list", required = true, minItems = 1, maxItems = 32, description = "Versions of the kind.", items = {
          type = "object", properties = {
            name = { type = "string", format = "dns-label", required = true, description = "Name of the version, e.g. v1." },
            served = { type = "boolean", required = true, description = "Whether the API has it." },
            storage = { type = "boolean", required = true, description = "True for exactly one version." },
            deprecated = { type = "boolean", description = "Warn who uses it." },
            deprecationWarning = { type = "string", maxLength = 256, description = "What the warning says, in place of the default." },
            selectableFields = { type = "list", maxItems = 8, pending = true, description = "Fields that field selectors may name.", items = {
              type = "object", properties = {
                jsonPath = { type = "string", required = true, maxLength = 1024, description = "Path of the field, e.g. .spec.colour." } } } },
            schema = { type = "object", description = "Schema of the objects.", properties = {
              openAPIV3Schema = { type = "any", description = "The schema, in the words of OpenAPI v3." } } },
            subresources = { type = "object", description = "Parts with a path of their own.", properties = {
              status = { type = "any", description = "Status is written apart from the rest." },
              scale = { type = "object", pending = true, description = "Makes it scalable.", properties = {
                specReplicasPath = { type = "string", required = true, description = "Path of the desired number." },
                statusReplicasPath = { type = "string", required = true, description = "Path of the present number." },
                labelSelectorPath = { type = "string", description = "Path of the selector as text." },
              } },
            } },
            additionalPrinterColumns = { type = "list", maxItems = 64, description = "Columns of tables.", items = {
              type = "object", properties = {
                name = { type = "string", required = true, description = "Heading." },
                type = { type = "string", required = true, enum = { "integer", "number", "string", "boolean", "date" }, description = "Type of the cells." },
                jsonPath = { type = "string", required = true, description = "Path of the value, e.g. .spec.size." },
                description = { type = "string", description = "What it shows." },
                format = { type = "string", description = "Format of the cells." },
                priority = { type = "integer", minimum = 0, zeroUnset = true, description = "Over 0: only in wide tables." },
              } } },
          } } },
      } },
      status = { type = "object", ["x-kubernetes-preserve-unknown-fields"] = true, description = "Present state.", properties = {
        conditions = { type = "list", mergeKey = "type", items = { ref = "Condition" }, description = "NamesAccepted, Established." },
        acceptedNames = { type = "any", description = "Names that are in use." },
        storedVersions = { type = "list", items = { type = "string" }, description = "Versions that objects were ever stored in." },
      } },
    },
  },
}
