-- SlurmCluster: how GPUJobs of the namespace reach a Slurm.
return {
  group = "minik8s.io", version = "v1", kind = "SlurmCluster", plural = "slurmclusters", scope = "Namespaced",
  validators = { "slurmCluster" },
  columns = {
    { name = "REST", path = "spec.rest.url", empty = "<none>", description = "Address of slurmrestd." },
    { name = "SSH", path = "spec.ssh.host", empty = "<none>", description = "Login node." },
    { name = "User", path = "spec.user", description = "Slurm user that owns the jobs." },
    { name = "Directory", path = "spec.directory", description = "Where the jobs' folders lie." },
    { name = "Age", column = "age", description = "Time since its creation." },
  },
  schema = {
    description = "A Slurm cluster: address, credentials, and the folder that its nodes share. Exactly one of rest and ssh.",
    properties = {
      spec = { type = "object", required = true, description = "How the cluster is reached.", properties = {
        rest = { type = "object", description = "Through slurmrestd.", properties = {
          url = { type = "string", required = true, maxLength = 512, pattern = "^https?://[][A-Za-z0-9._:-]+/?$", description = "Its address, e.g. http://login:6820." },
          version = { type = "string", enum = { "v0.0.37", "v0.0.38" }, default = "v0.0.38", description = "Version of its API." },
        } },
        ssh = { type = "object", description = "Through sbatch, squeue, scontrol and scancel on a login node.", properties = {
          host = { type = "string", required = true, maxLength = 253, pattern = "^[A-Za-z0-9][A-Za-z0-9._:-]*$", description = "Name or address of the login node." },
          port = { type = "integer", minimum = 1, maximum = 65535, default = 22, description = "Port of its SSH server." },
        } },
        user = { type = "string", maxLength = 32, pattern = "^[a-z_][a-z0-9_.-]*$", default = "root", description = "User whose jobs these are, in Slurm and for SSH." },
        runAsUser = { type = "integer", minimum = 0, maximum = 2147483647, default = 0, description = "Number of that user: the submitter writes the jobs' folders as it." },
        secretName = { type = "string", format = "dns-subdomain", required = true,
          description = "Secret with the credentials: token (a JWT) or jwt_hs256.key (then tokens are made) for rest; ssh-privatekey and known_hosts for ssh." },
        directory = { type = "string", format = "absolute-path", required = true, maxLength = 256, pattern = "^/[A-Za-z0-9_./-]*[A-Za-z0-9_-]$",
          description = "Folder that all nodes of the cluster share; each job gets one below it." },
        volume = { type = "object", description = "rest only: how the submitter gets at that folder. Default: a hostPath of the same path.", properties = {
          hostPath = { type = "object", description = "A folder of the node.", properties = {
            path = { type = "string", format = "absolute-path", required = true, description = "Its path." } } },
          persistentVolumeClaim = { type = "object", description = "A claim of this namespace, e.g. of an NFS volume.", properties = {
            claimName = { type = "string", format = "dns-subdomain", required = true, description = "Its name." } } },
        } },
        pollSeconds = { type = "integer", minimum = 1, maximum = 60, default = 1, description = "How often Slurm is asked about a job; it has no events." },
        image = { type = "string", maxLength = 512, default = "localhost/m8-submitter:1", description = "Image of the submitter." },
      } },
    },
  },
}
