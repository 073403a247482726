# @HEAD@

# What a command takes: its parts, its arguments in order and its options, each with the kind of its value;
# (a b) are the choices themselves, and a + marks what may come again.
_cometrep_page() {
    parts=() arguments=() options=()
    case $1 in
@PAGES@
    esac
}

# Find the kind of an option's value.
_cometrep_find() {
    local i
    for ((i = 0; i < ${#options[@]}; i += 3)); do
        if [[ " ${options[i]} " == *" $1 "* ]]; then
            kind=${options[i + 1]}
            return
        fi
    done
    kind=''
    return 1
}

# Read the words before the cursor as the program will: the command, its options and its arguments.
_cometrep_read() {
    local word rest kind ends_options=''
    for word in "${@//[\"\'\\]/}"; do
        if [[ $redirects ]]; then
            redirects=''
        elif [[ $word =~ ^[0-9]*(\&\>|[<>])+[\&|]?$ ]]; then
            redirects=1
        elif [[ $wanted ]]; then
            told[${#told[@]} - 1]+="=$word" wanted=''
        elif [[ $ends_options || $word != -?* ]]; then
            if ((${#parts[@]})); then
                path+=${path:+ }$word
                _cometrep_page "$path"
            else
                given+=("$word")
            fi
        elif [[ $word == -- ]]; then
            ends_options=1
        elif [[ $word == --* ]]; then
            told+=("$word")
            [[ $word == *=* ]] || { _cometrep_find "$word" && [[ $kind ]] && wanted=$word; }
        else
            for ((rest = 1; rest < ${#word}; rest++)); do
                told+=("-${word:rest:1}")
                if _cometrep_find "-${word:rest:1}" && [[ $kind ]]; then
                    if ((rest + 1 < ${#word})); then
                        told[${#told[@]} - 1]+="=${word:rest+1}"
                    else
                        wanted=-${word:rest:1}
                    fi
                    break
                fi
            done
        fi
    done
    takes_options=${ends_options:-1}
    [[ $ends_options ]] && takes_options=''
    return 0
}

# Read on in a word as the shell does: $plain is what it says so far, $quote what is open. Fails where it says
# what only running it could tell.
_cometrep_unquote() { # _cometrep_unquote WORD
    local at char variable='^(\$\{[[:alpha:]_][[:alnum:]_]*\}|\$[[:alpha:]_][[:alnum:]_]*)[^[:alnum:]_]'
    for ((at = 0; at < ${#1}; at++)); do
        char=${1:at:1}
        if [[ $char == \\ && $quote != \' ]]; then
            at=$((at + 1)) char=${1:at:1}
            [[ $quote && $char != [\$\`\"\\] ]] && plain+=\\
            plain+=$char
        elif [[ $quote && $char == "$quote" ]]; then
            quote=''
        elif [[ ! $quote && $char == [\"\'] ]]; then
            quote=$char
        elif [[ $quote != \' && ${1:at} =~ $variable ]]; then
            char=${BASH_REMATCH[1]} at=$((at + ${#BASH_REMATCH[1]} - 1))
            char=${char//[\$\{\}]/}
            plain+=${!char-}
        elif [[ $quote != \' && $char == [\$\`] ]]; then
            return 1
        else
            plain+=$char
        fi
    done
}

# Put a text into $quoted as it is to be written where $quote is open.
_cometrep_quote() { # _cometrep_quote TEXT
    local at char
    if [[ $1 =~ ^[[:alnum:]@=:/.,_+-]*$ ]]; then
        quoted=$1
        return
    elif [[ ! $quote ]]; then
        printf -v quoted %q "$1"
        return
    fi
    quoted=''
    for ((at = 0; at < ${#1}; at++)); do
        char=${1:at:1}
        case $quote$char in
            \'\') quoted+="'\\''" ;;
            \"!) quoted+="\"'!'\"" ;; # a backslash keeps the history out, but stays
            \"[\$\`\"\\]) quoted+=\\$char ;;
            *) quoted+=$char ;;
        esac
    done
}

# Put the values that begin with the current word into COMPREPLY, with descriptions where they are only listed.
# The line keeps $kept, the part of the word that readline does not replace.
_cometrep_offer() {
    local i value quoted width=0 room shown half is_described=''
    local -a found=() told_of=()
    for ((i = 0; i < ${#values[@]}; i++)); do
        value=${values[i]}
        if [[ $kept ]]; then
            [[ $value == "$kept"* ]] || continue
            value=${value#"$kept"}
        fi
        _cometrep_quote "$value"
        found+=("$quoted") told_of+=("${abouts[i]}") is_described+=${abouts[i]}
        ((${#quoted} > width)) && width=${#quoted}
    done
    compopt -o nosort 2>/dev/null
    room=$((${COLUMNS:-80} - width - 3)) half=$((${COLUMNS:-80} / 2))
    if ((${#found[@]} < 2 || room < 12 || COMP_TYPE == 37 || COMP_TYPE == 42)) || [[ ! $is_described ]]; then
        COMPREPLY=("${found[@]}")
        return
    fi
    for ((i = 0; i < ${#found[@]}; i++)); do
        shown=${told_of[i]}
        ((${#shown} > room)) && shown=${shown:0:room-1}…
        printf -v shown "%-${width}s%s" "${found[i]}" "${shown:+  $shown}"
        ((${#shown} < half)) && printf -v shown "%-${half}s" "$shown" # one a line
        COMPREPLY+=("$shown")
    done
}

# List the files, or with `folders` the folders, whose paths begin as $plain does, each with a NUL behind it.
_cometrep_find_files() { # _cometrep_find_files KIND, in a shell of its own
    local file
    set +f
    unset GLOBIGNORE
    shopt -u failglob nocaseglob
    shopt -s nullglob dotglob
    [[ $(bind -v 2>/dev/null) == *'completion-ignore-case on'* ]] && shopt -s nocaseglob
    for file in "$plain"*; do
        if [[ -d $file ]]; then
            printf '%s/\0' "$file"
        elif [[ $1 == files ]]; then
            printf '%s\0' "$file"
        fi
    done
}

# Complete a path, which is the end of the current word as it was typed.
_cometrep_paths() { # _cometrep_paths KIND PATH
    local last=${2##*/} file quoted plain='' quote=''
    if [[ $2 == "$text" || ${2#[\"\']} == "$text" ]]; then
        if [[ $1 == files ]]; then compopt -o default; else compopt -o dirnames; fi
        return
    fi
    # readline takes the @ before a path for a part of the path, so it can neither find nor quote the file.
    _cometrep_unquote "${raw%"$2"}"
    plain=''
    _cometrep_unquote "$2" || return
    [[ $plain =~ ^~[[:alnum:]_.-]*/ ]] && eval "plain=${BASH_REMATCH[0]}\${plain#*/}"
    while IFS= read -rd '' file; do
        if [[ $file == "$plain"* ]]; then
            _cometrep_quote "${file#"$plain"}"
            COMPREPLY+=("$text$quoted")
        elif [[ $text == *"$last" ]]; then # written in letters of the other case
            _cometrep_quote "${file#"${plain%"${plain##*/}"}"}"
            COMPREPLY+=("${text%"$last"}$quoted")
        fi
    done < <(_cometrep_find_files "$1")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace
}

# Find the option of a word of short ones that has its value there, as in -qdpics: its kind, and where that begins.
_cometrep_attached() {
    for ((at = 2; at < ${#raw}; at++)); do
        _cometrep_find "-${raw:at-1:1}" && [[ $kind ]] && return
    done
    return 1
}

# Complete a value of a kind; before it the current word has $1 characters.
_cometrep_value() { # _cometrep_value KIND START
    local kind=${1%+} start=${raw:0:$2} typed=${raw:$2} value about
    local item='^([^=:@]+)(:=@|=@|@)(.*)$'
    [[ $kind == files && ! $wanted$start && " ${told[*]} " == *' --sweep '* ]] && kind=inputs
    case $kind in
        files | folders) _cometrep_paths "$kind" "$typed" ;;
        \(*)
            kind=${kind#\(}
            for value in ${kind%\)}; do
                [[ $value == "${typed//[\"\'\\]/}"* ]] && values+=("$start$value") abouts+=('')
            done
            _cometrep_offer
            ;;
        text) ;;
        *)
            if [[ $kind == inputs && $typed =~ $item ]]; then
                _cometrep_paths files "${BASH_REMATCH[3]}"
                return
            fi
            if [[ $kind == values && ${given[0]} == dir ]]; then
                _cometrep_paths folders "$typed"
                return
            fi
            while IFS=$'\t' read -r value about; do
                values+=("$start$value") abouts+=("$about")
            done < <("$program" __complete "$kind" "${told[@]}" -- "${given[@]}" \
                "${typed//[\"\'\\]/}" 2>/dev/null)
            [[ $kind == inputs && ${values[0]-} == *[=@] ]] && compopt -o nospace
            _cometrep_offer
            ;;
    esac
}

_cometrep_options() { # those that begin as the current word does, and are not given yet
    local i name one about is_given
    for ((i = 0; i < ${#options[@]}; i += 3)); do
        is_given=''
        for one in "${told[@]%%=*}"; do
            [[ " ${options[i]} " == *" $one "* && ${options[i + 1]} != *+ ]] && is_given=1
        done
        [[ $is_given ]] && continue
        about=${options[i + 2]}
        for name in ${options[i]}; do
            [[ $name == "$raw"* ]] && values+=("$name") abouts+=("$about")
        done
    done
    _cometrep_offer
}

_cometrep() {
    local program=${1/#\~\//$HOME/} text=$2 line=${COMP_LINE:0:COMP_POINT}
    local path='' wanted='' redirects='' takes_options=1 raw kept kind name i at plain='' quote=''
    local -a words=() parts=() arguments=() options=() told=() given=() values=() abouts=()
    local word="^[[:space:]]*(([^[:space:]\"'\\\\]|\\\\.|\\\\\$|\"([^\"\\\\]|\\\\.)*(\"|\\\\?\$)|'[^']*('|\$))+)"
    COMPREPLY=()
    while [[ $line =~ $word ]]; do
        words+=("${BASH_REMATCH[1]}")
        line=${line:${#BASH_REMATCH[0]}}
    done
    [[ $line ]] && words+=('')
    raw=${words[${#words[@]} - 1]}
    [[ $text =~ ^[=:]+$ ]] && text='' # behind `time` and the like it is the word of COMP_WORDS
    [[ $raw == *"$text" ]] || text=$raw
    _cometrep_unquote "${raw%"$text"}"
    kept=$plain
    _cometrep_page ''
    _cometrep_read "${words[@]:1:${#words[@]}-2}"

    if [[ $redirects ]]; then
        compopt -o default
    elif [[ $raw =~ ^[0-9]*(\&\>|[<>])+[\&|]? ]]; then
        _cometrep_paths files "${raw:${#BASH_REMATCH[0]}}"
    elif [[ $wanted ]]; then
        _cometrep_find "$wanted"
        _cometrep_value "$kind" 0
    elif [[ $takes_options && $raw == --*=* ]]; then
        name=${raw%%=*}
        _cometrep_find "$name" && _cometrep_value "${kind:-text}" $((${#name} + 1))
    elif [[ $takes_options && $raw == -[!-]* ]] && _cometrep_attached; then
        _cometrep_value "$kind" "$at"
    elif [[ $takes_options && $raw == -* ]]; then
        _cometrep_options
    elif ((${#parts[@]})); then
        for ((i = 0; i < ${#parts[@]} && !${#told[@]}; i += 2)); do # options stand behind the command
            [[ ${parts[i]} == "$raw"* ]] && values+=("${parts[i]}") abouts+=("${parts[i + 1]}")
        done
        _cometrep_offer
    else
        kind=''
        if ((${#given[@]} < ${#arguments[@]})); then
            kind=${arguments[${#given[@]}]}
        elif ((${#arguments[@]})) && [[ ${arguments[${#arguments[@]} - 1]} == *+ ]]; then
            kind=${arguments[${#arguments[@]} - 1]}
        fi
        if [[ $kind ]]; then
            _cometrep_value "$kind" 0
        elif [[ ! $raw ]]; then
            _cometrep_options
        fi
    fi
    return 0
}

complete -F _cometrep cometrep
