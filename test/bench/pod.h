/* The pod of these measurements: as people write them, filled up by an annotation to exactly POD_BYTES with a
 * name of POD_NAME characters. */
#ifndef M8_BENCH_POD_H
#define M8_BENCH_POD_H

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define POD_BYTES 1500
#define POD_NAME 12

static const char pod_head[] = "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"";
static const char pod_tail[] =
    "\",\"labels\":{\"app\":\"web\",\"tier\":\"front\",\"pod-template-hash\":\"7d4b9c6f5\"},"
    "\"annotations\":{\"note\":\"%*s\"}},\"spec\":{\"containers\":[{\"name\":\"web\",\"image\":\"registry."
    "local/web:1.4.2\","
    "\"command\":[\"/bin/"
    "web\"],\"args\":[\"--listen\",\":8080\"],\"ports\":[{\"name\":\"http\",\"containerPort\":8080}],"
    "\"env\":[{\"name\":\"A\",\"value\":\"1\"},{\"name\":\"B\",\"value\":\"2\"},{\"name\":\"IP\","
    "\"valueFrom\":{\"fieldRef\":{"
    "\"fieldPath\":\"status.podIP\"}}},{\"name\":\"P\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"db\","
    "\"key\":\"password\"}}}],"
    "\"resources\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"},\"limits\":{\"cpu\":\"500m\","
    "\"memory\":\"128Mi\"}},"
    "\"volumeMounts\":[{\"name\":\"cfg\",\"mountPath\":\"/etc/"
    "web\",\"readOnly\":true},{\"name\":\"tmp\",\"mountPath\":\"/tmp\"}],"
    "\"readinessProbe\":{\"httpGet\":{\"path\":\"/"
    "ready\",\"port\":\"http\"},\"periodSeconds\":2}},{\"name\":\"log\","
    "\"image\":\"registry.local/log:2\",\"volumeMounts\":[{\"name\":\"tmp\",\"mountPath\":\"/"
    "tmp\"}]}],\"volumes\":[{\"name\":"
    "\"cfg\",\"configMap\":{\"name\":\"web\"}},{\"name\":\"tmp\",\"emptyDir\":{}}],\"tolerations\":[{\"key\":"
    "\"node.kubernetes.io/"
    "not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}],"
    "\"nodeSelector\":{\"disk\":\"ssd\"},\"restartPolicy\":\"Always\"}}";

/* What comes after the name; caller frees. */
static inline char *pod_tail_new(void)
{
    const size_t without = sizeof(pod_head) - 1 + sizeof(pod_tail) - 1 - strlen("%*s") + POD_NAME;
    must(without <= POD_BYTES);
    auto_free char *pad = mem_alloc(POD_BYTES - without + 1);
    memset(pad, 'x', POD_BYTES - without);
    return mem_printf(pod_tail, (int)(POD_BYTES - without), pad);
}

#endif
