#!/usr/bin/awk -f
# Reads the output of a program run under Oclgrind; prints each different report once, with how
# often it came, and exits with 1 if there is any that suppressions.txt does not name.
#
#   oclgrind-reports.awk -v suppressions=FILE OUTPUT
#
# A report is a headline, then lines that begin with a tab, of which one says "Kernel:", "Function:"
# or "Entity:"; fatal errors have a headline of their own.

function finish() {
    if (headline != "" && (body ~ /\t(Kernel|Function|Entity):/ || headline ~ /OCLGRIND FATAL|^Oclgrind - /)) {
        for (i = 1; i <= n_suppressions; i++)
            if (headline body ~ suppression[i]) {
                suppressed++
                used[i]++
                headline = ""
                body = ""
                return
            }
        key = headline
        gsub(/0x[0-9a-f]+/, "0x...", key)
        where = body
        if (match(where, /Kernel: [^\n]*/))
            key = key "\n    " substr(where, RSTART, RLENGTH)
        if (match(where, /Function: [^\n]*/))
            key = key "\n    " substr(where, RSTART, RLENGTH)
        while (match(where, /At line [^\n]*\n[^\n]*/)) {
            key = key "\n    " substr(where, RSTART, RLENGTH)
            where = substr(where, RSTART + RLENGTH)
        }
        if (match(body, /Error: [^\n]*\n[^\n]*/))
            key = key "\n    " substr(body, RSTART, RLENGTH)
        if (!(key in seen))
            order[++n_reports] = key
        seen[key]++
    }
    headline = ""
    body = ""
}

BEGIN {
    while (suppressions != "" && (getline line < suppressions) > 0)
        if (line !~ /^[ \t]*(#|$)/)
            suppression[++n_suppressions] = line
}
/^\t/ { body = body $0 "\n"; next }
/^[ ]*$/ { next }
{ finish(); headline = $0 }
END {
    finish()
    for (i = 1; i <= n_reports; i++)
        printf "Oclgrind, %d times: %s\n", seen[order[i]], order[i]
    if (suppressed)
        printf "Oclgrind: %d reports suppressed, with the reasons in %s\n", suppressed, suppressions
    if (!n_reports)
        print "Oclgrind reports nothing."
    exit n_reports > 0
}
