#!/usr/bin/awk -f
# Reads the output of the test program with AddressSanitizer; prints each leak and sanitizer error
# that is not Criterion's own, and exits with 1 if there is any.
#
# Criterion keeps the deadline of a test in a thread that the end of the program may overtake. No
# suppression can name that leak alone: Criterion's frames also stand below every test's.

function finish() {
    if (block != "" && (ours || !frames)) {
        printf "%s", block
        n_reports++
    }
    block = ""
}

/(Direct|Indirect) leak of / { finish(); block = $0 "\n"; ours = frames = 0; next }
block != "" && $1 ~ /^#[0-9]+$/ {
    block = block $0 "\n"
    if ($1 != "#0") {
        frames++
        ours = ours || !/libcriterion/
    }
    next
}
{ finish() }
/ERROR: AddressSanitizer|runtime error:/ { print; n_reports++ }
END {
    finish()
    exit n_reports > 0
}
