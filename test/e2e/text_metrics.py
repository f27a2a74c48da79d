"""Measures the similarity of texts with rapidfuzz, sacrebleu, nltk and rouge-score.

usage: text_metrics.py FILE
FILE is JSON: pairs of a text and its reference. Prints a line of JSON: a list of values for each metric.
"""

import json
import sys

import sacrebleu
from nltk.translate.gleu_score import sentence_gleu
from nltk.translate.meteor_score import single_meteor_score
from rapidfuzz import fuzz
from rouge_score import rouge_scorer

with open(sys.argv[1], encoding="utf-8") as file:
    pairs = json.load(file)


class NoSynonyms:
    """In place of WordNet, which is not a package."""

    def synsets(self, word):
        return []


orders = [f"rouge{n}" for n in range(1, 6)]
scorer = rouge_scorer.RougeScorer([*orders, "rougeL"])
rouge = [scorer.score(reference, text) for text, reference in pairs]
values = {
    "fuzzy_match": [fuzz.ratio(text, reference) / 100 for text, reference in pairs],
    "bleu": [sacrebleu.sentence_bleu(text, [reference]).score / 100 for text, reference in pairs],
    "gleu": [sentence_gleu([reference.split()], text.split()) for text, reference in pairs],
    "meteor": [
        single_meteor_score(reference.split(), text.split(), wordnet=NoSynonyms())
        for text, reference in pairs
    ],
    "rouge_l": [scores["rougeL"].fmeasure for scores in rouge],
}
for n, name in enumerate(orders, 1):
    values[f"rouge_{n}"] = [scores[name].fmeasure for scores in rouge]
print(json.dumps(values))
