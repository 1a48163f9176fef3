"""Numbers about images: feature distances, segmentation accuracy, style, aesthetics, scores.

    frechet            statistics of features, and the Frechet distance between two of them
    kernel             the kernel distance of KID between two sets of features
    features           the features of image files, in batches
    statistics_file    statistics as .npz files, in the form of pytorch-fid
    segmentation       mask accuracy, confusion matrix, accuracy and IoU per class
    predictions        the agreement of a segmenter's predictions with layouts
    style              similarity of color histograms
    aesthetics         scores of NIMA
    contrast           the contrastive scorer: images against photos
    scores             the machine scores of the contest
    table              the measures as rows
    evaluation         all numbers of a set of images, as JSON
    report             the same as an HTML page

No module reads a clock, a flag or a path to a run, and none prints. The caller passes the networks
as functions.
"""
