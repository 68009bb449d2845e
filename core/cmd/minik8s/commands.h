/* The subcommands of minik8s, one file each. argv[0] is the command's own name. Each returns the exit code.
 */
#ifndef M8_CMD_COMMANDS_H
#define M8_CMD_COMMANDS_H

int command_server(int argc, char **argv);
int command_manager(int argc, char **argv);
int command_node(int argc, char **argv);
int command_resolver(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_cluster(int argc, char **argv);

#define MINIK8S_VERSION "0.1.0"
#define KUBERNETES_VERSION "v1.35.0"

#endif
