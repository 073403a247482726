# @HEAD@

# What a command takes, a line each: what it is, its names, the kind of its value, its description. (a b) are the
# choices themselves, and a + marks what may come again.
function __cometrep_page
    switch "$argv[1]"
@PAGES@
    end
end

# Give the kind of an option's value: __cometrep_kind NAME PAGE
function __cometrep_kind
    set -l name (string escape --style=regex -- $argv[1])
    string replace -rf "^option\t(?:[^\t]* )?$name(?: [^\t]*)?\t([^\t]*)\t.*" '$1' -- $argv[2..]
end

# List the paths that a word of the line may become, as fish does behind a command that it does not know.
function __cometrep_paths
    complete -C "__cometrep_unknown $argv[1]" | string replace -r '\t.*' ''
end

# Put the part of a word that stays before each value and its description.
function __cometrep_behind
    set -l start $argv[1]
    while read -l answer
        echo -- $start$answer
    end
end

function __cometrep_complete
    set -l words (commandline -opc)
    set -l raw (commandline -ct)
    set -l current (string replace -ra '["\'\\\\]' '' -- $raw)
    while string match -qr '^\w+=' -- $words[1]
        set -e words[1]
    end
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l path ''
    set -l page (__cometrep_page '')
    set -l told
    set -l given
    set -l wanted ''
    set -l takes_options 1

    # Read the words before the cursor as the program will: the command, its options and its arguments.
    for word in $words[2..]
        if test -n "$wanted"
            set told[-1] "$wanted=$word"
            set wanted ''
        else if test -z "$takes_options"; or not string match -qr '^-.' -- $word
            if string match -qr '^part\t' -- $page
                set path (string trim -- "$path $word")
                set page (__cometrep_page $path)
            else
                set -a given $word
            end
        else if test "$word" = --
            set takes_options ''
        else if string match -q -- '--*' $word
            set -a told $word
            if not string match -q '*=*' -- $word; and test -n (__cometrep_kind $word $page)""
                set wanted $word
            end
        else
            set -l letters (string split '' -- (string sub -s 2 -- $word))
            for place in (seq (count $letters))
                set -l name -$letters[$place]
                set -a told $name
                if test -n (__cometrep_kind $name $page)""
                    if test $place -lt (count $letters)
                        set told[-1] $name=(string join '' $letters[(math $place + 1)..-1])
                    else
                        set wanted $name
                    end
                    break
                end
            end
        end
    end

    set -l kind ''
    set -l start ''
    if test -n "$wanted"
        set kind (__cometrep_kind $wanted $page)
    else if test -n "$takes_options"; and string match -qr '^--[^=]+=' -- $current
        set start (string replace -r '=.*' = -- $current)
        set kind (__cometrep_kind (string replace -r '=.*' '' -- $current) $page)
    else if test -n "$takes_options"; and string match -qr '^-[^-].' -- $current
        set -l letters (string split '' -- (string sub -s 2 -- $current))
        for place in (seq (math (count $letters) - 1))
            set kind (__cometrep_kind -$letters[$place] $page)
            if test -n "$kind"
                set start (string sub -l (math $place + 1) -- $current)
                break
            end
        end
        test -z "$kind"; and return
    else if not string match -qr '^-' -- $current; or test -z "$takes_options"
        string replace -rf '^part\t([^\t]*)\t[^\t]*\t(.*)' '$1\t$2' -- $page
        string match -qr '^part\t' -- $page; and return
        set -l kinds (string replace -rf '^argument\t[^\t]*\t([^\t]*)\t.*' '$1' -- $page)
        set -l place (math (count $given) + 1)
        if test $place -le (count $kinds)
            set kind $kinds[$place]
        else if string match -q '*+' -- $kinds[-1]
            set kind $kinds[-1]
        end
    end
    set kind (string replace -r '\+$' '' -- $kind)

    if test -z "$kind"
        __cometrep_options $page
        return
    end
    if test $kind = files -a -z "$wanted$start"; and contains -- --sweep $told
        set kind inputs
    end
    set -l typed (string sub -s (math (string length -- "$start") + 1) -- $current)
    set -l item (string match -r '^[^=:@]+(?::=@|=@|@)' -- $typed)
    if test $kind = inputs -a -n "$item"
        set start $item
        set kind files
        set typed (string sub -s (math (string length -- $item) + 1) -- $typed)
    else if test $kind = values -a "$given[1]" = dir
        set kind folders
    end
    switch $kind
        case files folders
            # As it was typed, with an open quote before it.
            set typed (string replace -r '^(["\']?)'(string escape --style=regex -- "$start") '$1' -- $raw)
            set -l ends (test $kind = folders; and echo '/$'; or echo '')
            __cometrep_paths "$typed" | string match -r ".*$ends" | __cometrep_behind $start
        case '(*'
            string split ' ' -- (string trim -c '()' -- $kind) | __cometrep_behind $start
        case text
        case '*'
            # The program chooses what fits: fish looks for a word in the descriptions too.
            $program __complete $kind $told -- $given "$typed" 2>/dev/null | __cometrep_behind $start
    end
end

# List the options not given yet, by the caller's list of those that are.
function __cometrep_options --no-scope-shadowing
    for line in (string match -r '^option\t.*' -- $page)
        set -l fields (string split \t -- $line)
        set -l is_given ''
        for name in (string split ' ' -- $fields[2])
            if contains -- $name (string replace -r '=.*' '' -- $told); and not string match -q '*+' -- $fields[3]
                set is_given 1
            end
        end
        test -n "$is_given"; and continue
        for name in (string split ' ' -- $fields[2])
            printf '%s\t%s\n' $name $fields[4]
        end
    end
end

complete -c cometrep -e
complete -c cometrep -f -k -a '(__cometrep_complete)'
