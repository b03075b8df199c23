"""The verbs of the command line: what each is for, an example, and where its options and its action live.

This table is all that ``autofuse --help`` reads; a verb's options are built when that verb is asked for.
"""

from __future__ import annotations

from autofuse.cli.units_verbs import UNIT_VERBS
from autofuse.cli.verb import Verb

__all__ = ["VERBS", "Verb", "verb_named"]

VERBS: tuple[Verb, ...] = (
    Verb(
        "check",
        "find everything that is wrong with a data set",
        "Opens every image and label of the data set and reports all problems in one go, each with its file, its "
        "cause and its remedy, and a table of what was found. Nothing is written into the data set. Ends with "
        "exit code 3 where something has to be mended before training.",
        (("autofuse check Dataset104_Hippocampus", "all problems, and a table of facts"),),
    ),
    Verb(
        "fingerprint",
        "measure a data set",
        "Measures every case (grids, non-zero part, intensities of the labelled foreground, classes, which "
        "modalities are there and how far they lie apart, how densely it is labelled), writes fingerprint.json and "
        "prints what is unusual first. Interrupted, it goes on where it stopped.",
        (("autofuse fingerprint Dataset104_Hippocampus", "measure, and print what was measured"),),
    ),
    Verb(
        "plan",
        "decide how to train, within the memory and the time there is",
        "Decides target spacing, patch, batch, network, normalisation, trainer and length of training from the "
        "fingerprint and two dials, memory and time. A plan that is there already is kept unless other dials are "
        "given.",
        (
            ("autofuse plan Dataset104_Hippocampus", "this machine's memory, the default number of steps"),
            ("autofuse plan Dataset104_Hippocampus --memory 8GiB --minutes 20", "what trains well in 20 minutes"),
            ("autofuse plan Dataset101_BraTS13 --expect-missing", "for cases that lack a modality"),
            ("autofuse plan Dataset103_ACDCScribble --minutes 60 --pilot", "try challengers before deciding"),
        ),
    ),
    Verb(
        "explain",
        "say why the plan is as it is, in words and pictures",
        "Tells what the data are, what is unusual about them, how images are fused and why, and what teaches; then "
        "every decision of the plan: what was chosen, the rule that fired, the numbers it read, what was passed over. "
        "Draws images laid over each other before and after they are brought together, which images there are and "
        "what is annotated; once for each plan. Makes the plan first where there is none.",
        (
            ("autofuse explain Dataset104_Hippocampus", "the story, the pictures and the reasons behind plan.json"),
            ("autofuse explain Dataset104_Hippocampus --no-pictures", "words only, at once"),
        ),
    ),
    Verb(
        "preprocess",
        "crop, resample and normalise all cases into the prepared store",
        "Crops every case to its non-zero part, resamples it to the plan's spacing, normalises each modality and "
        "stores the result with checksums. Cases that are prepared already are left as they are.",
        (("autofuse preprocess Dataset104_Hippocampus -c 3d", "prepare what one configuration needs"),),
    ),
    Verb(
        "train",
        "train one fold",
        "Trains one fold of a configuration with a trainer, and continues where an interrupted run stopped. A "
        "variant (--set) gets a run folder of its own. Whatever has to come before (measuring, planning, "
        "preparing, an earlier stage of a cascade) is done first where it is missing.",
        (
            ("autofuse train Dataset104_Hippocampus --fold 1", "the planned configuration and trainer"),
            ("autofuse train Dataset104_Hippocampus -t partial --minutes 30", "another trainer, half an hour"),
            ("autofuse train Dataset104_Hippocampus --set learning_rate=0.02", "a variant"),
        ),
    ),
    Verb(
        "select",
        "choose the best run or ensemble, and post-processing, on held-out cases",
        "Scores all finished runs on the cases that they held out, chooses the best single run or ensemble (greedy "
        "choice with replacement; the simplest one that is not clearly beaten), and post-processing, thresholds and a "
        "temperature where they clearly help. Writes ensemble.json with the evidence; predict uses it from then on. "
        "What is chosen stays while runs and labels do not change.",
        (
            ("autofuse select Dataset104_Hippocampus", "among all runs that held out the same cases"),
            ("autofuse select Dataset104_Hippocampus --members 1", "the best single run, and its post-processing"),
        ),
    ),
    Verb(
        "predict",
        "segment images with a trained model",
        "Segments the data set's test cases (imagesTs), or the images in any folder named alike, on their own "
        "grid, with the ensemble that select has chosen, or the newest run where it has not. Several folds are "
        "averaged. Masks that are there already and whole are kept; a case that fails does not stop the others.",
        (
            ("autofuse predict Dataset104_Hippocampus", "imagesTs with what select has chosen, or the newest run"),
            ("autofuse predict Dataset104_Hippocampus -i new_scans -o masks", "any folder of images"),
            ("autofuse predict hippocampus -i new_scans -o masks", "with a model that was imported under that name"),
            ("autofuse predict Dataset104_Hippocampus --uncertainty", "also how sure it is, and volumes"),
        ),
    ),
    Verb(
        "fuse",
        "make one fused image of each case's modalities",
        "Writes one image of all modalities on the case's own grid, from 0 (black) to 1 (white), for people to "
        "read. Takes the data set's test cases, or the images in any folder named alike. Needs a run of the trainer "
        "fuse4seg: plan with --want-fused. No masks are made; `autofuse predict --save-fused` makes both.",
        (
            ("autofuse fuse Dataset101_BraTS13", "imagesTs with the newest finished run"),
            ("autofuse fuse Dataset101_BraTS13 -i new_scans -o fused", "any folder of images"),
            ("autofuse fuse brains -i new_scans -o fused", "with a model that was imported under that name"),
        ),
    ),
    Verb(
        "fuse-dataset",
        "make a copy of a data set that has the fused image as a modality",
        "Fuses every case, each training case by a model that has not learned from it, and writes a data set in "
        "nnU-Net's raw layout: images, fused image and truth, ready to be plugged in. Images are linked, not copied, "
        "where the disk allows it. Stopped at any moment, the same command goes on.",
        (
            ("autofuse fuse-dataset Dataset101_BraTS13 --out Dataset301_Fused", "modalities and fused image"),
            ("autofuse fuse-dataset Dataset101_BraTS13 --out Dataset302_Fused --only-fused", "the fused image alone"),
        ),
    ),
    Verb(
        "evaluate",
        "compare masks with references",
        "Writes Dice, normalised surface distance, 95th percentile Hausdorff distance and volume difference per "
        "case and class or region as JSON, CSV and a table, and the same lesion by lesion if asked for. Without -i it "
        "judges the newest run's held-out cases. Interrupted, it goes on where it stopped.",
        (
            ("autofuse evaluate Dataset104_Hippocampus", "the newest run on its held-out cases"),
            ("autofuse evaluate Dataset104_Hippocampus -i masks -r labelsTs", "a folder against another"),
            (
                "autofuse evaluate Dataset101_BraTS13 -i masks --regions WT=1,2,3,4 TC=1,3,4 ET=4 --lesions brats-gli",
                "regions, and lesion by lesion as BraTS 2023 does it",
            ),
        ),
    ),
    Verb(
        "compare",
        "compare folders of masks with each other",
        "Scores two or more folders of masks on the same cases and tells, per class or region and metric, how far they "
        "lie apart: the paired difference with its bootstrap interval over subjects, Wilcoxon's signed-rank test with "
        "Holm's correction, and ranks as challenges make them, with how stable they are. A case without a mask counts "
        "as worst. Writes JSON, CSV and a page that opens without a network. Interrupted, it goes on where it stopped.",
        (
            ("autofuse compare Dataset104_Hippocampus masks_old masks_new", "is the new one better?"),
            (
                "autofuse compare Dataset101_BraTS13 a b c --regions WT=1,2,3,4 ET=4 --names early late both",
                "three of them, by regions",
            ),
        ),
    ),
    Verb(
        "judge-fused",
        "score fused images, beside fusions that need no training",
        "Writes entropy, standard deviation, spatial frequency, mutual information, SCD, VIF, Qabf and SSIM of fused "
        "images (<case>.nii.gz on the cases' own grids) as JSON, CSV and a table, always beside the pixel maximum, the "
        "mean, a Laplacian pyramid and each source alone: image metrics can be won by copying a source. With "
        "--segmenter, a model that was trained on single images says how much of the labels is still to be seen in "
        "each. Without -i only the trivial fusions are scored. Stopped at any moment, the same command goes on.",
        (
            ("autofuse judge-fused Dataset101_BraTS13 -i fused", "a folder of fused images against trivial fusions"),
            ("autofuse judge-fused Dataset101_BraTS13", "the trivial fusions alone: the bar for every other"),
            (
                "autofuse judge-fused Dataset101_BraTS13 -i fused --segmenter autofuse_workspace/Dataset301_Single",
                "also the Dice of a segmenter that was trained on single images",
            ),
        ),
    ),
    Verb(
        "run",
        "do it all: from a folder of images to masks and scores",
        "Checks, measures, plans, prepares, trains, predicts the held-out cases, chooses by them what predicts, "
        "predicts the test cases and prints the scores. Stopped at any moment, the same command goes on where it was.",
        (
            ("autofuse run Dataset104_Hippocampus --minutes 20", "everything within 20 minutes"),
            ("autofuse run Dataset104_Hippocampus --folds all --minutes 600", "five folds, averaged at prediction"),
            (
                "autofuse run Dataset104_Hippocampus --folds all --executor local --jobs 2",
                "the same as work units, two at once",
            ),
        ),
    ),
    *UNIT_VERBS,
    Verb(
        "export",
        "put a trained model into one file for others",
        "Writes a bundle: the weights that predict (safetensors), the plan, versions, a summary of the data and of the "
        "held-out scores, hashes, and a model card. Nothing of the patients goes with it: no case, subject or path; "
        "that is checked before anything is written. The model is the one that `autofuse predict` would use. The same "
        "model gives the same file, byte for byte.",
        (
            ("autofuse export Dataset104_Hippocampus", "the newest finished run, into the workspace"),
            (
                "autofuse export Dataset104_Hippocampus --name hippocampus -o hippocampus.zip --licence CC-BY-4.0",
                "under a name of its own",
            ),
            ("autofuse export Dataset104_Hippocampus --onnx", "as ONNX networks, with a contract for other programs"),
        ),
    ),
    Verb(
        "import",
        "take in a model from a bundle",
        "Checks everything about the bundle before any of it is unpacked (its list, names, sizes, hashes), then every "
        "value in it, and gives it a folder in the workspace. Nothing in a bundle is ever run. A bundle that is "
        "broken, foreign or unsafe ends with exit code 4 and leaves nothing behind. The model then predicts by its "
        "name, and needs no data set.",
        (
            ("autofuse import hippocampus.zip", "under the name that it brings"),
            ("autofuse import hippocampus.zip --name theirs", "under another; `autofuse predict theirs` segments then"),
        ),
    ),
    Verb(
        "report",
        "write one page on the data, the plan, the training and the scores",
        "Writes one HTML file that holds everything (pictures too), loads nothing from a network, and can be read in a "
        "browser or printed: what the data are, what was decided and why, learning curves, scores with intervals, the "
        "best, median and worst case, calibration, versions and commands. It tells as much as the workspace holds by "
        "now, and changes nothing there. `autofuse run` writes it at its end.",
        (
            ("autofuse report Dataset104_Hippocampus", "report/report.html in the workspace"),
            ("autofuse report Dataset104_Hippocampus --anonymous --out page.html", "cases numbered, not named"),
        ),
    ),
    Verb(
        "submit",
        "make what a challenge takes, checked",
        "Makes a submission of the test cases' masks (folder, brats, flare), predicting first what is missing: names, "
        "grids, types, values and completeness are checked, and what would be turned away is refused with reasons. Or "
        "of the model (grand-challenge): a folder that Docker builds a container from, rehearsed here without Docker "
        "as the challenge will run it: another user, read-only input, no network, time and memory measured, output "
        "checked. Ends with exit code 6 where the rehearsal fails. Strangers' targets are found by entry point.",
        (
            ("autofuse submit Dataset101_BraTS13 --target brats", "a zip of masks, into the workspace"),
            ("autofuse submit Dataset101_BraTS13 --target folder -i new_scans -o masks.zip", "of any images"),
            (
                "autofuse submit Dataset101_BraTS13 --target grand-challenge --interface T1=/input/images/t1-mri "
                "--interface 'FLAIR?=/input/images/flair-mri'",
                "a container; cases may lack FLAIR",
            ),
            ("autofuse submit Dataset101_BraTS13 --target grand-challenge --rehearse", "try it again as it is"),
        ),
    ),
    Verb(
        "from-dicom",
        "make the images of a case out of DICOM series",
        "Reads each folder as one series and writes it as NIfTI, NAME_0000 and so on in the order given, on exactly "
        "the grid of its slices, with rescale slope and intercept applied. Slices are sorted by where they lie. "
        "Refuses what is not one whole volume: several series in a folder, missing or doubled slices, mixed "
        "orientations, a tilted gantry, multi-frame files. Nothing of the patient but the image is kept. Needs "
        "autofuse[dicom].",
        (
            ("autofuse from-dicom dicom/t1 dicom/flair -o new_scans --case case_01", "two modalities of one case"),
            ("autofuse from-dicom dicom/ct -o new_scans --case case_02", "one; then `autofuse predict -i new_scans`"),
        ),
    ),
    Verb(
        "to-dicom-seg",
        "write a mask as a DICOM Segmentation object",
        "Makes a DICOM-SEG file with a binary segment for each class or region, which names the algorithm and its "
        "version and refers to the slices of the series, so that archives and viewers show it on them. The mask has to "
        "lie on the grid of the series. Needs autofuse[dicom].",
        (
            (
                "autofuse to-dicom-seg masks/case_01.nii.gz --series dicom/t1 --labels dataset.json -o seg.dcm",
                "labels as the data set declares them",
            ),
            (
                "autofuse to-dicom-seg masks/case_01.nii.gz --series dicom/t1 --labels hippocampus -o seg.dcm",
                "labels of an imported model",
            ),
        ),
    ),
    Verb(
        "align",
        "bring all images of one patient onto one grid",
        "Registers every image rigidly onto the reference, resamples it onto the reference's grid and writes it, with "
        "the transforms as JSON and a picture of before and after. Prints how far the images lay apart and lie apart "
        "now. Needs no data set; data sets need no aligning by hand, since the plan says where it is due. Ends with "
        "exit code 6 where an image could not be registered.",
        (
            ("autofuse align patient04 --out patient04_aligned", "all images in a folder, onto the finest of them"),
            (
                "autofuse align t1.nii.gz flair.nii.gz --out aligned --reference flair",
                "two files, onto a grid of choice",
            ),
        ),
    ),
    Verb(
        "scribble",
        "make a scribbled copy of a densely labelled data set",
        "Draws strokes over the dense labels as a person in a hurry would (along the middle and just inside the edge "
        "of every structure, and around them) and writes a data set whose labels are those strokes, with the dense "
        "labels beside them to judge by, a record and a picture. So anyone can ask how far scribbles would have got "
        "them. Images are linked, not copied, where the disk allows it. Stopped at any moment, the same command goes "
        "on.",
        (
            ("autofuse scribble Dataset101_BraTS13 --out Dataset201_Scribbled", "strokes on every slice"),
            (
                "autofuse scribble Dataset101_BraTS13 --out Dataset202_Sparser --every 5 --density 0.3",
                "shorter strokes, on every fifth slice",
            ),
        ),
    ),
    Verb(
        "demo",
        "draw a phantom data set and run the whole road on it",
        "Draws a small multi-modal data set (anatomy-like shapes that each modality shows differently, so that "
        "none suffices alone), runs the road on it and shows pictures. Needs no data and no network.",
        (("autofuse demo", "in ./autofuse_demo, under five minutes on two cores"),),
    ),
    Verb(
        "doctor",
        "measure this machine, and say what slows it down",
        "Measures in seconds how fast this machine convolves (in each precision and memory layout), writes and reads "
        "the workspace's disk, brings crops from a prepared store and augments them, beside what a training step "
        "needs. Warns of known regressions and of what does not fit, and proposes options with reasons. Leaves nothing "
        "behind. Warnings are no failure: it ends with exit code 0.",
        (
            ("autofuse doctor", "this machine, and the disk of the default workspace"),
            ("autofuse doctor --workspace /data/work --json", "another disk; for programs"),
        ),
    ),
    Verb(
        "info",
        "show versions, the machine, and what a workspace holds",
        "Prints versions, cores, memory and precision of this machine, the planners, trainers and "
        "submission targets that are installed, and for a data set what exists in its workspace and what is finished.",
        (
            ("autofuse info", "this installation and this machine"),
            ("autofuse info Dataset104_Hippocampus", "also what was done for this data set"),
        ),
    ),
)


def verb_named(name: str) -> Verb:
    """The verb called so.

    Raises:
        KeyError: if there is none.
    """
    return {verb.name: verb for verb in VERBS}[name]
