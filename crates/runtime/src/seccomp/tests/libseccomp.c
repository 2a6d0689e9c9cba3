/* Builds a filter with libseccomp from lines on standard input and writes the BPF to standard output.
 * default ACTION | arch NAME | rule NAME ACTION [INDEX OP A B]...      (actions and operators as numbers) */
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    scmp_filter_ctx ctx = NULL;
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        char *word = strtok(line, " \n");
        if (!word) continue;
        if (!strcmp(word, "default")) {
            ctx = seccomp_init(strtoul(strtok(NULL, " \n"), NULL, 0));
        } else if (!strcmp(word, "arch")) {
            int rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(strtok(NULL, " \n")));
            if (rc && rc != -17) return 2;
        } else {
            int nr = seccomp_syscall_resolve_name(strtok(NULL, " \n"));
            unsigned action = strtoul(strtok(NULL, " \n"), NULL, 0);
            struct scmp_arg_cmp args[6];
            unsigned n = 0;
            char *index;
            if (nr == __NR_SCMP_ERROR) continue;
            while ((index = strtok(NULL, " \n"))) {
                args[n].arg = atoi(index);
                args[n].op = atoi(strtok(NULL, " \n"));
                args[n].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
                args[n].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
                n++;
            }
            if (seccomp_rule_add_array(ctx, action, nr, n, args)) return 3;
        }
    }
    return ctx ? -seccomp_export_bpf(ctx, 1) : 4;
}
