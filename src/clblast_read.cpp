/* In: a device. Out: CLBlast's parameters for it, which only its C++ interface tells. */
#include "clblast_values.h"

#include <clblast.h>

bool mha_clblast_read(cl_device_id device, bool is_double, const char *kernel,
                      const char *const *names, size_t *values, size_t count) {
    try {
        const clblast::Precision precision =
            is_double ? clblast::Precision::kDouble : clblast::Precision::kSingle;
        std::unordered_map<std::string, size_t> found;
        if (clblast::RetrieveParameters(device, kernel, precision, found) !=
                clblast::StatusCode::kSuccess ||
            found.size() != count)
            return false;
        for (size_t i = 0; i < count; ++i)
            values[i] = found.at(names[i]);
        return true;
    } catch (...) { /* nothing may leave for C: no memory, or no such parameter */
        return false;
    }
}
