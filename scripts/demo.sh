#!/bin/sh
# Two guided runs with the example models: an image of digits and restaurant sentences for given facts.
# usage: demo.sh VEER [FOLDER]      results go to FOLDER, by default demo/
set -eu
veer=$1
out=${2:-demo}
examples=$(dirname "$0")/../examples
mkdir -p "$out"

# Ten rows of the digits 0 to 9, each sample guided to its class by the classifier's gradient.
row=0,1,2,3,4,5,6,7,8,9
"$veer" sample "$examples/digits" --steps 100 --num-samples 100 --batch-size 25 --seed 7 -o "$out/digits.png" \
    --class $row,$row,$row,$row,$row,$row,$row,$row,$row,$row

# Four sentences for each of three meaning representations, guided by the classifier of sentence and meaning.
set --
for y in 'name : Alimentum | area : city centre | family friendly : no' \
         'name : The Mill | Type : pub | food : Fast food | customer rating : high | near : Café Sicilia' \
         'name : The Phoenix | Type : restaurant | food : Italian | price : cheap | area : riverside'; do
    for i in 1 2 3 4; do set -- "$@" --text "y=$y"; done
done
"$veer" sample "$examples/e2e" --steps 200 --num-samples 12 --batch-size 4 --seed 7 --self-cond x0_prev --clamp-below 600 \
    -o "$out/text.jsonl" "$@"

echo
echo "digits:    $out/digits.png"
echo "sentences: $out/text.jsonl"
sed 's/.*"text": *"\([^"]*\)".*/  \1/' "$out/text.jsonl"
