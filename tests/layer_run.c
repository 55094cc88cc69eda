/* Runs one attention layer on data from a file, for layer_peers.py.
 *
 *   mha-layer-run IN OUT
 *
 * MHA_TEST_DEVICE: a part of the platform's or the device's name. Both files are lines of text,
 * then fp32 numbers in the machine's byte order. A line is a name and an integer: first the sizes
 * (those of `fields` below), then "tensor.NAME COUNT" for each tensor in the order of their
 * numbers, at last "data 0". OUT has the tensors y and, where IN has scores 1, scores: the
 * attention weights. */
#include "mha_cl.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    int64_t batch, seqlen_q, seqlen_kv, q_heads, kv_heads, head_dim_qk, head_dim_v;
    int64_t embed_q, embed_k, embed_v, embed_out; /* embed_out 0: no output projection */
    int64_t is_fused, is_packed, is_causal, scores;
} in;

static const struct {
    const char *name;
    int64_t *value;
} fields[] = {
    {"batch", &in.batch},           {"seqlen_q", &in.seqlen_q},   {"seqlen_kv", &in.seqlen_kv},
    {"q_heads", &in.q_heads},       {"kv_heads", &in.kv_heads},   {"head_dim_qk", &in.head_dim_qk},
    {"head_dim_v", &in.head_dim_v}, {"embed_q", &in.embed_q},     {"embed_k", &in.embed_k},
    {"embed_v", &in.embed_v},       {"embed_out", &in.embed_out}, {"fused", &in.is_fused},
    {"packed", &in.is_packed},      {"causal", &in.is_causal},    {"scores", &in.scores},
};

/* What a tensor's numbers become on the device. */
enum kind { KIND_F32, KIND_I32, KIND_U8 };

static struct tensor {
    const char *name;
    enum kind kind;
    int64_t count; /* 0: the file has none */
    cl_mem buffer;
} tensors[] = {
    {.name = "query"},
    {.name = "key"},
    {.name = "value"},
    {.name = "weights.q"},
    {.name = "weights.k"},
    {.name = "weights.v"},
    {.name = "bias.q"},
    {.name = "bias.k"},
    {.name = "bias.v"},
    {.name = "weights.qkv"},
    {.name = "bias.qkv"},
    {.name = "weights.output"},
    {.name = "bias.output"},
    {.name = "attention_bias"},
    {.name = "mask", .kind = KIND_U8},
    {.name = "kv_lengths", .kind = KIND_I32},
};
#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

static void stop(const char *what, const char *why) {
    fprintf(stderr, "mha-layer-run: %s: %s\n", what, why);
    exit(1);
}

static void check(cl_int code, const char *what) {
    char text[32];
    snprintf(text, sizeof(text), "OpenCL error %d", (int)code);
    if (code)
        stop(what, text);
}

static void check_call(mha_status status, const mha_error *e) {
    if (status)
        stop(mha_status_name(status), e->message);
}

/* ---- Files ---------------------------------------------------------------------------------- */

static struct tensor *find_tensor(const char *name) {
    for (size_t n = 0; n < COUNT_OF(tensors); ++n)
        if (!strcmp(tensors[n].name, name))
            return &tensors[n];
    stop(name, "no such tensor");
    return NULL;
}

static int64_t *find_field(const char *name) {
    for (size_t n = 0; n < COUNT_OF(fields); ++n)
        if (!strcmp(fields[n].name, name))
            return fields[n].value;
    stop(name, "no such field");
    return NULL;
}

/* The numbers of one tensor, converted in place, into a buffer. */
static void read_tensor(FILE *file, cl_context context, struct tensor *tensor) {
    const size_t count = (size_t)tensor->count;
    float *numbers = malloc(count * sizeof(*numbers));
    cl_int code;
    if (!numbers || fread(numbers, sizeof(*numbers), count, file) != count)
        stop(tensor->name, "no memory, or the file is too short");
    for (size_t n = 0; n < count && tensor->kind != KIND_F32; ++n) {
        const int32_t number = (int32_t)numbers[n];
        if (tensor->kind == KIND_I32)
            memcpy(&numbers[n], &number, sizeof(number));
        else
            ((unsigned char *)numbers)[n] = (unsigned char)number;
    }
    tensor->buffer = clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                                    count * sizeof(*numbers), numbers, &code);
    check(code, "clCreateBuffer");
    free(numbers);
}

static void read_file(const char *path, cl_context context) {
    struct tensor *order[COUNT_OF(tensors)];
    size_t count = 0;
    char line[128], name[64];
    long long value;
    FILE *file = fopen(path, "rb");
    if (!file)
        stop(path, "can't open it");
    for (;;) {
        if (!fgets(line, sizeof(line), file) || sscanf(line, "%63s %lld", name, &value) != 2)
            stop(path, "not a name and an integer on a line");
        if (!strcmp(name, "data"))
            break;
        if (strncmp(name, "tensor.", 7)) {
            *find_field(name) = value;
            continue;
        }
        if (count == COUNT_OF(tensors) || value <= 0)
            stop(name, "too many tensors, or an empty one");
        order[count] = find_tensor(name + 7);
        order[count++]->count = value;
    }
    for (size_t n = 0; n < count; ++n)
        read_tensor(file, context, order[n]);
    fclose(file);
}

static void write_tensor(FILE *file, cl_command_queue queue, cl_mem buffer, size_t count) {
    float *numbers = malloc(count * sizeof(*numbers));
    if (!numbers)
        stop("out", "no memory");
    check(clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, count * sizeof(*numbers), numbers, 0, NULL,
                              NULL),
          "clEnqueueReadBuffer");
    if (fwrite(numbers, sizeof(*numbers), count, file) != count)
        stop("out", "can't write it");
    free(numbers);
}

/* ---- The layer ------------------------------------------------------------------------------ */

static cl_device_id find_device(void) {
    const char *wanted = getenv("MHA_TEST_DEVICE");
    cl_platform_id platforms[16];
    cl_device_id devices[16];
    cl_uint platform_count = 0, count;
    clGetPlatformIDs(16, platforms, &platform_count);
    for (cl_uint p = 0; p < platform_count && p < 16; ++p) {
        char platform[128] = "", name[128] = "";
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 16, devices, &count))
            continue;
        clGetPlatformInfo(platforms[p], CL_PLATFORM_NAME, sizeof(platform), platform, NULL);
        for (cl_uint d = 0; d < count && d < 16; ++d) {
            clGetDeviceInfo(devices[d], CL_DEVICE_NAME, sizeof(name), name, NULL);
            if (!wanted || strstr(name, wanted) || strstr(platform, wanted))
                return devices[d];
        }
    }
    stop(wanted ? wanted : "device", "there is none");
    return NULL;
}

static mha_memory get_memory(const char *name) {
    return mha_buffer(find_tensor(name)->buffer, 0);
}

static mha_plan *make_plan(mha_engine *engine) {
    mha_attention_desc attention = MHA_ATTENTION_DESC_INIT;
    mha_layer_desc desc = MHA_LAYER_DESC_INIT;
    mha_plan *plan = NULL;
    mha_error e;
    attention.flags = (find_tensor("attention_bias")->count ? MHA_BIAS : 0) |
                      (find_tensor("mask")->count ? MHA_MASK : 0) |
                      (find_tensor("kv_lengths")->count ? MHA_KV_LENGTHS : 0) |
                      (in.is_causal ? MHA_CAUSAL : 0) | (in.scores ? MHA_SCORES : 0);
    attention.q_heads = in.q_heads;
    attention.kv_heads = in.kv_heads;
    attention.head_dim_qk = in.head_dim_qk;
    attention.head_dim_v = in.head_dim_v;
    attention.max_batch = in.batch;
    attention.max_seqlen_q = in.seqlen_q;
    attention.max_seqlen_kv = in.seqlen_kv;
    const bool has_bias = find_tensor("bias.qkv")->count || find_tensor("bias.q")->count;
    desc.attention = &attention;
    desc.flags = (in.is_fused ? MHA_LAYER_FUSED_QKV : 0) | (has_bias ? MHA_LAYER_QKV_BIAS : 0) |
                 (in.embed_out ? MHA_LAYER_OUTPUT : 0) |
                 (find_tensor("bias.output")->count ? MHA_LAYER_OUTPUT_BIAS : 0) |
                 (in.is_packed ? MHA_LAYER_PACKED : 0);
    desc.embed_q = in.embed_q;
    desc.embed_k = in.is_fused ? 0 : in.embed_k;
    desc.embed_v = in.is_fused ? 0 : in.embed_v;
    desc.embed_out = in.embed_out;
    check_call(mha_layer_plan_create(engine, &desc, &plan, &e), &e);
    return plan;
}

static cl_mem make_buffer(cl_context context, size_t bytes) {
    cl_int code;
    cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE, bytes ? bytes : 1, NULL, &code);
    check(code, "clCreateBuffer");
    return buffer;
}

/* Enqueues the layer; everything that it needs beside the file's tensors is made here. */
static void run_layer(cl_context context, cl_command_queue queue, mha_plan *plan, cl_mem y,
                      cl_mem scores) {
    const int64_t width = in.embed_out ? in.embed_out : in.q_heads * in.head_dim_v;
    const int64_t scores_row = in.seqlen_kv, scores_head = in.seqlen_q * in.seqlen_kv;
    const mha_layer_weights weights = {
        .struct_size = sizeof(weights),
        .qkv = get_memory("weights.qkv"),
        .q = get_memory("weights.q"),
        .k = get_memory("weights.k"),
        .v = get_memory("weights.v"),
        .qkv_bias = get_memory("bias.qkv"),
        .q_bias = get_memory("bias.q"),
        .k_bias = get_memory("bias.k"),
        .v_bias = get_memory("bias.v"),
        .output = get_memory("weights.output"),
        .output_bias = get_memory("bias.output"),
    };
    mha_plan_info info = MHA_PLAN_INFO_INIT;
    mha_attention_args attention = MHA_ATTENTION_ARGS_INIT;
    mha_layer_args args = MHA_LAYER_ARGS_INIT;
    mha_error e;
    check_call(mha_plan_get_info(plan, &info, &e), &e);
    cl_mem workspace = make_buffer(context, info.workspace_bytes);
    cl_mem packed = make_buffer(context, info.packed_bytes);
    attention.batch = in.batch;
    attention.seqlen_q = in.seqlen_q;
    attention.seqlen_kv = in.seqlen_kv;
    attention.kv_lengths = get_memory("kv_lengths");
    attention.bias.memory = get_memory("attention_bias");
    attention.mask.memory = get_memory("mask");
    mha_score_tensor *const of_scores[] = {&attention.bias, &attention.mask};
    for (int n = 0; n < 2; ++n)
        if (of_scores[n]->memory.buffer) {
            of_scores[n]->stride_batch = in.q_heads * scores_head;
            of_scores[n]->stride_head = scores_head;
            of_scores[n]->stride_query = scores_row;
            of_scores[n]->stride_key = 1;
        }
    attention.scores.buffer = scores;
    args.attention = &attention;
    args.query = mha_tensor_bnhd(get_memory("query").buffer, 0, 1, in.seqlen_q, in.embed_q);
    if (!in.is_fused) {
        args.key = mha_tensor_bnhd(get_memory("key").buffer, 0, 1, in.seqlen_kv, in.embed_k);
        args.value = mha_tensor_bnhd(get_memory("value").buffer, 0, 1, in.seqlen_kv, in.embed_v);
    }
    args.y = mha_tensor_bnhd(y, 0, 1, in.seqlen_q, width);
    args.workspace.buffer = workspace;
    if (in.is_packed) {
        args.packed.buffer = packed;
        check_call(mha_enqueue_layer_pack(plan, queue, &weights, &args.packed, 0, NULL, NULL, &e),
                   &e);
    } else {
        args.weights = &weights;
    }
    check_call(mha_enqueue_layer(plan, queue, &args, 0, NULL, NULL, &e), &e);
    check(clFinish(queue), "clFinish");
    clReleaseMemObject(workspace);
    clReleaseMemObject(packed);
}

int main(int argc, char **argv) {
    mha_engine_desc desc = MHA_ENGINE_DESC_INIT;
    mha_engine *engine = NULL;
    mha_error e;
    cl_int code;
    if (argc != 3)
        stop("usage", "mha-layer-run IN OUT");
    desc.device = find_device();
    desc.flags = MHA_ENGINE_HERMETIC;
    desc.context = clCreateContext(NULL, 1, &desc.device, NULL, NULL, &code);
    check(code, "clCreateContext");
    cl_command_queue queue = clCreateCommandQueue(desc.context, desc.device, 0, &code);
    check(code, "clCreateCommandQueue");
    read_file(argv[1], desc.context);
    check_call(mha_engine_create(&desc, &engine, &e), &e);
    mha_plan *plan = make_plan(engine);
    const int64_t width = in.embed_out ? in.embed_out : in.q_heads * in.head_dim_v;
    const size_t y_count = (size_t)(in.batch * in.seqlen_q * width);
    const size_t scores_count =
        in.scores ? (size_t)(in.batch * in.q_heads * in.seqlen_q * in.seqlen_kv) : 0;
    cl_mem y = make_buffer(desc.context, y_count * sizeof(float));
    cl_mem scores = in.scores ? make_buffer(desc.context, scores_count * sizeof(float)) : NULL;
    run_layer(desc.context, queue, plan, y, scores);
    FILE *file = fopen(argv[2], "wb");
    if (!file)
        stop(argv[2], "can't open it");
    fprintf(file, "tensor.y %zu\n", y_count);
    if (scores)
        fprintf(file, "tensor.scores %zu\n", scores_count);
    fprintf(file, "data 0\n");
    write_tensor(file, queue, y, y_count);
    if (scores) {
        write_tensor(file, queue, scores, scores_count);
        clReleaseMemObject(scores);
    }
    if (fclose(file))
        stop(argv[2], "can't write it");
    clReleaseMemObject(y);
    for (size_t n = 0; n < COUNT_OF(tensors); ++n)
        if (tensors[n].buffer)
            clReleaseMemObject(tensors[n].buffer);
    mha_plan_destroy(&plan);
    mha_engine_destroy(&engine);
    clReleaseCommandQueue(queue);
    clReleaseContext(desc.context);
    return 0;
}
