/* In: a case's JSON and files. Out: buffers on a device. */
#include "case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t number_of(const json_t *json, const char *name) {
    return (int64_t)json_integer_value(json_object_get(json, name));
}

static cl_mem read_buffer(const struct bench *device, const char *folder, const char *name,
                          size_t *bytes) {
    char path[4096];
    cl_mem buffer = NULL;
    snprintf(path, sizeof(path), "%s/%s.bin", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    void *data = malloc(*bytes + 1);
    if (data && fread(data, 1, *bytes, file) == *bytes) {
        buffer = bench_buffer(device, *bytes);
        bench_check_cl(
            clEnqueueWriteBuffer(device->queue, buffer, CL_TRUE, 0, *bytes, data, 0, NULL, NULL),
            "clEnqueueWriteBuffer");
    }
    free(data);
    fclose(file);
    return buffer;
}

bool case_open(struct bench_case *c, const struct bench *device, const json_t *json) {
    const char *folder = json_string_value(json_object_get(json, "folder"));
    const char *kind = json_string_value(json_object_get(json, "kind"));
    const char *dtype = json_string_value(json_object_get(json, "dtype"));
    *c = (struct bench_case){
        .is_causal = json_is_true(json_object_get(json, "causal")),
        .batch = number_of(json, "batch"),
        .q_heads = number_of(json, "q_heads"),
        .kv_heads = number_of(json, "kv_heads"),
        .seqlen_q = number_of(json, "seqlen_q"),
        .seqlen_kv = number_of(json, "seqlen_kv"),
        .head_dim = number_of(json, "head_dim"),
    };
    if (!folder || !kind || !dtype) {
        fprintf(stderr, "a case needs folder, kind and dtype\n");
        return false;
    }
    c->is_layer = !strcmp(kind, "layer");
    c->dtype = !strcmp(dtype, "f16") ? MHA_F16 : MHA_F32;
    const struct {
        const char *name;
        cl_mem *buffer;
        bool is_needed, is_kv;
    } inputs[] = {
        {"q", &c->q, !c->is_layer, false},
        {"k", &c->k, !c->is_layer, true},
        {"v", &c->v, !c->is_layer, true},
        {"bias", &c->bias, false, false},
        {"mask", &c->mask, false, false},
        {"kv_lengths", &c->kv_lengths, false, false},
        {"x", &c->x, c->is_layer, false},
        {"qkv_weight", &c->qkv_weight, c->is_layer, false},
        {"qkv_bias", &c->qkv_bias, c->is_layer, false},
        {"output_weight", &c->output_weight, c->is_layer, false},
        {"output_bias", &c->output_bias, c->is_layer, false},
    };
    for (size_t i = 0; i < sizeof(inputs) / sizeof(*inputs); ++i) {
        size_t bytes = 0;
        *inputs[i].buffer = read_buffer(device, folder, inputs[i].name, &bytes);
        if (inputs[i].is_needed && !*inputs[i].buffer) {
            fprintf(stderr, "%s/%s.bin can't be read\n", folder, inputs[i].name);
            case_close(c);
            return false;
        }
        c->kv_bytes += inputs[i].is_kv ? (double)bytes : 0;
    }
    const size_t rows = (size_t)(c->batch * c->q_heads * c->seqlen_q);
    c->o_bytes = rows * (size_t)c->head_dim * (c->dtype == MHA_F16 ? 2 : 4);
    c->o = bench_buffer(device, c->o_bytes);
    if (json_is_true(json_object_get(json, "scores")))
        c->scores = bench_buffer(device, rows * (size_t)c->seqlen_kv * sizeof(float));
    return true;
}

void case_close(struct bench_case *c) {
    const cl_mem all[] = {
        c->q,      c->k, c->v,          c->o,        c->bias,          c->mask,       c->kv_lengths,
        c->scores, c->x, c->qkv_weight, c->qkv_bias, c->output_weight, c->output_bias};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); ++i)
        if (all[i])
            clReleaseMemObject(all[i]);
    *c = (struct bench_case){.batch = 0};
}
