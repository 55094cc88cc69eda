# shellcheck shell=bash
# Completion of mha-tune for bash; needs nothing but bash.

# Device names, as far as the drivers tell them within a second.
_mha_tune_devices() {
    timeout 1 "$1" devices --json 2>/dev/null | sed -nE 's/^ *"name": "(.*)",?$/\1/p'
}

# Options of the command "$1".
_mha_tune_options() {
    local results='--device --shape --config --json'
    case $1 in
        devices) echo '--device --config --json' ;;
        run)
            echo "$results --budget --time --evals --seed-from --seed --variant --space --warm \
                --journal --quiet"
            ;;
        resume) echo '--device --config --journal --json --quiet' ;;
        show | explain | prune) echo "$results" ;;
        verify) echo "$results --time --rounds --warm" ;;
        bench) echo "$results --time --rounds --warm --against" ;;
        export) echo '--format --out --journal --device --shape --variant' ;;
        import) echo '--config --json' ;;
        replay) echo '--runs --seed --starts-from --json' ;;
        *) echo '--help --version' ;;
    esac
}

_mha_tune() {
    local commands='devices run resume show explain verify bench export import prune replay'
    local variants='staged panel panel_split flash flash_split gemm_panel gemm_tile clblast'
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' i
    COMPREPLY=()
    # "--format=p" is three words.
    if [ "$word" = = ]; then
        word=
    elif [ "$before" = = ]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((i = 1; i < COMP_CWORD; ++i)); do
        if [[ " $commands " == *" ${COMP_WORDS[i]} "* ]]; then
            command=${COMP_WORDS[i]}
            break
        fi
    done
    case $before in
        -b | --budget)
            mapfile -t COMPREPLY < <(compgen -W 'quick standard patient exhaustive' -- "$word")
            ;;
        -f | --format) mapfile -t COMPREPLY < <(compgen -W 'csv t4 svg png' -- "$word") ;;
        --seed-from)
            mapfile -t COMPREPLY < <(compgen -W 'all safe heuristic none' -- "$word")
            ;;
        --variant) mapfile -t COMPREPLY < <(compgen -W "$variants" -- "$word") ;;
        -d | --device)
            local name
            compopt -o filenames # which quotes spaces
            while read -r name; do
                [[ ${name,,} == "${word,,}"* ]] && COMPREPLY+=("$name")
            done < <(_mha_tune_devices "${COMP_WORDS[0]}")
            ;;
        -c | --config)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$word")
            ;;
        --against)
            compopt -o filenames
            mapfile -t COMPREPLY < <(
                compgen -W shipped -- "$word"
                compgen -d -- "$word"
            )
            ;;
        -j | --journal | -o | --out | --starts-from)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            ;;
        -s | --shape | -t | --time | -n | --evals | --seed | --space | -r | --rounds | --runs) ;;
        *)
            if [[ $word == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W "$(_mha_tune_options "$command")" -- "$word")
            elif [ -z "$command" ]; then
                mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
            elif [ "$command" = import ] || [ "$command" = replay ]; then
                compopt -o filenames
                mapfile -t COMPREPLY < <(compgen -f -- "$word")
            fi
            ;;
    esac
}

complete -o nosort -F _mha_tune mha-tune
